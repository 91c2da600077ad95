"""From sums on a Fourier grid to a map: what is added to the weights before dividing."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from vitreous.geometry.fourier import half_plane_weights, volume_from_half_space
from vitreous.geometry.shells import shell_sum
from vitreous.imaging.fourier_grid import kernel_correction
from vitreous.reconstruction.fsc import fsc_shells

# Half maps are divided by their weights plus this share of the shell's mean weight, so that
# voxels which hardly any slice came near do not drown the others in noise.
HALF_MAP_FLOOR = 0.1


def shell_mean(values: Float[Array, "*batch n n h"], count: int) -> Float[Array, "*batch count"]:
    """Average a half space over each rounded shell, every voxel and its mate alike."""
    box = values.shape[-2]
    shell = fsc_shells(box).reshape(-1)
    mates = np.broadcast_to(half_plane_weights(box), values.shape[-3:]).reshape(-1)
    # In NumPy, because the compiler would spend seconds on folding this constant.
    size = np.bincount(shell, mates, minlength=count)[:count]
    share = jnp.asarray(mates / np.maximum(size, 1)[np.minimum(shell, count - 1)], values.dtype)
    flat = values.reshape(-1, mates.size)
    total = shell_sum(flat * share[None], jnp.asarray(shell), count)
    return total.reshape(*values.shape[:-3], count)


def divide(
    numerator: Complex[Array, "n n h"],
    weight: Float[Array, "n n h"],
    penalty: Float[Array, " shells"],
) -> Complex[Array, "n n h"]:
    """Return `numerator / (weight + penalty[shell])`, and 0 beyond the last shell of `penalty`."""
    shell = fsc_shells(weight.shape[-2])
    inside = jnp.asarray(shell < len(penalty))
    total = weight + penalty[jnp.asarray(np.minimum(shell, len(penalty) - 1))]
    good = inside & (total > 0)
    inverse = jnp.where(good, 1 / jnp.where(good, total, 1), 0)
    return numerator * inverse.astype(numerator.dtype)


def half_map_penalty(weight: Float[Array, "n n h"], shells: int) -> Float[Array, " shells"]:
    """Return the small constant that half maps, whose signal is not yet known, are divided with."""
    return HALF_MAP_FLOOR * shell_mean(weight, shells)


def mean_count_penalty(
    weight: Float[Array, "n n h"], shells: int, share: float
) -> Float[Array, " shells"]:
    """Return `share` times the mean weight of all voxels inside the last shell, on every shell."""
    box = weight.shape[-2]
    inside = (fsc_shells(box) < shells) * half_plane_weights(box)
    mean = jnp.sum(weight * jnp.asarray(inside, weight.dtype)) / inside.sum().item()
    return jnp.full(shells, share * mean)


def wiener_penalty(
    weight: Float[Array, "n n h"], fsc: Float[Array, " curve"], shells: int
) -> Float[Array, " shells"]:
    """Return the ratio of noise to signal power that half maps imply, for the map of all images.

    **Arguments:** `fsc`: of the half maps, both of which `weight` holds.

    **Source:** Scheres (2012): `SNR = 2 FSC / (1 − FSC)` of the whole map, so that the mean
    weight divided by it is the penalty.
    """
    curve = jnp.pad(fsc, (0, max(0, shells - len(fsc))), mode="edge")[:shells]
    curve = jnp.clip(curve, 1e-3, 1 - 1e-4)
    return shell_mean(weight, shells) * (1 - curve) / (2 * curve)


def map_from_transform(transform: Complex[Array, "n n h"]) -> Float[Array, "n n n"]:
    """Go to real space and undo the trilinear kernel; corners outside the sphere are 0.

    No tilt of the specimen sees the corners, and undoing the kernel would blow up their noise.
    """
    box = transform.shape[-2]
    correction = kernel_correction(box, box, "linear", keep_corners=False)
    return volume_from_half_space(transform, box) * jnp.asarray(correction)

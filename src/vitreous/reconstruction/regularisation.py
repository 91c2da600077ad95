"""From sums on a Fourier grid to a map: what is added to the weights before dividing."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from vitreous.geometry.fourier import half_plane_weights, volume_from_half_space
from vitreous.geometry.half_space_radii import shell_sizes, voxel_shells
from vitreous.geometry.shells import shell_sum
from vitreous.imaging.interpolation import kernel_transform

# Half maps are divided by their weights plus this share of the shell's mean weight, so that
# voxels which hardly any slice came near do not drown the others in noise.
HALF_MAP_FLOOR = 0.1


def shell_mean(values: Float[Array, "*batch n n h"], count: int) -> Float[Array, "*batch count"]:
    """Average a half space over each rounded shell, every voxel and its mate alike."""
    box = values.shape[-2]
    mates = jnp.asarray(half_plane_weights(box), values.dtype)
    weighed = values * mates.reshape((1,) * (values.ndim - 1) + (-1,))
    flat = weighed.reshape(-1, box * box * values.shape[-1])
    total = shell_sum(flat, voxel_shells(box).reshape(-1), count)
    size = jnp.asarray(np.maximum(shell_sizes(box, count), 1), values.dtype)
    return (total / size[None]).reshape(*values.shape[:-3], count)


def divide(
    numerator: Complex[Array, "n n h"],
    weight: Float[Array, "n n h"],
    penalty: Float[Array, " shells"],
) -> Complex[Array, "n n h"]:
    """Return `numerator / (weight + penalty[shell])`, and 0 beyond the last shell of `penalty`."""
    shell = voxel_shells(weight.shape[-2])
    inside = shell < len(penalty)
    total = weight + penalty[jnp.minimum(shell, len(penalty) - 1)]
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
    mates = jnp.asarray(half_plane_weights(box), weight.dtype)[None, None]
    inside = jnp.where(voxel_shells(box) < shells, weight * mates, 0)
    mean = jnp.sum(inside) / float(shell_sizes(box, shells).sum())
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
    place = np.arange(box, dtype=np.float32) - np.float32(box // 2)
    factor = 1 / kernel_transform(place.astype(np.float64) / box, "linear")
    # As in `geometry.half_space_radii`: no constant of the size of the map.
    axis, square = jax.lax.optimization_barrier(
        (jnp.asarray(factor, jnp.float32), jnp.asarray(place**2))
    )
    radius = square[:, None, None] + square[None, :, None] + square[None, None, :]
    correction = axis[:, None, None] * axis[None, :, None] * axis[None, None, :]
    volume = volume_from_half_space(transform, box)
    return jnp.where(radius <= (box / 2) ** 2, volume * correction.astype(volume.dtype), 0)

"""What a mask adds to an FSC curve, measured by phase randomisation and taken off.

Source: Chen et al. (2013) "High-resolution noise substitution to measure overfitting".
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vitreous.geometry.fourier import half_space, volume_from_half_space
from vitreous.geometry.half_space_radii import voxel_shells
from vitreous.reconstruction.fsc import crossing, fourier_shell_correlation
from vitreous.reconstruction.masks import mask_from_map, spherical_mask

# Å: how far the masks reach beyond the density, and the width of their edges.
LOOSE_MASK = (25.0, 15.0)
TIGHT_MASK = (6.0, 6.0)
# Phases are randomised from this fraction of the shell where the tight curve crosses 0.143.
RANDOMISE_FROM = 0.75
# The mask blurs the border between kept and random phases over about as many shells.
BORDER_SHELLS = 2


@jax.jit
def randomise_phases(
    key: jax.Array, volume: Float[Array, "n n n"], first_shell: float | Array
) -> Float[Array, "n n n"]:
    """Replace the phases of shells `>= first_shell` by those of white noise.

    Amplitudes stay, and since the phases come from a real noise volume they are uniform and
    Friedel-symmetric: the result is real without losing power.
    """
    noise = half_space(jax.random.normal(key, volume.shape, volume.dtype))
    transform = half_space(volume)
    amplitude = jnp.abs(noise)
    ratio = jnp.abs(transform) / jnp.where(amplitude > 0, amplitude, 1)
    random = noise * ratio.astype(noise.dtype)
    beyond = voxel_shells(volume.shape[0]).astype(jnp.float32) >= first_shell
    return volume_from_half_space(jnp.where(beyond, random, transform), volume.shape[0])


def corrected_fsc(
    first: Float[Array, "n n n"],
    second: Float[Array, "n n n"],
    mask: Float[Array, "n n n"],
    first_shell: float | Array,
    key: jax.Array,
) -> Float[Array, " shells"]:
    """Correlate two masked maps and take off the correlation that the mask made.

    **Arguments:** `first_shell`: phases are randomised from here on; up to `BORDER_SHELLS` beyond
    it the masked curve stands as it is.

    **Returns:** `(F − F_random) / (1 − F_random)`, within [0, 1] where corrected.
    """
    key_first, key_second = jax.random.split(key)
    masked = masked_fsc(first, second, mask)
    random = masked_fsc(
        randomise_phases(key_first, first, first_shell),
        randomise_phases(key_second, second, first_shell),
        mask,
    )
    safe = jnp.where(random < 1, 1 - random, 1)
    corrected = jnp.clip((masked - random) / safe, 0, 1)
    shell = jnp.arange(len(masked), dtype=masked.dtype)
    return jnp.where(shell >= first_shell + BORDER_SHELLS, corrected, masked)


@jax.jit
def masked_fsc(
    first: Float[Array, "n n n"], second: Float[Array, "n n n"], mask: Float[Array, "n n n"]
) -> Float[Array, " shells"]:
    """Correlate two maps within a mask."""
    return fourier_shell_correlation(first * mask, second * mask)


def half_map_masks(
    reference: Float[np.ndarray, "n n n"], voxel_size: float
) -> dict[str, Float[np.ndarray, "n n n"]]:
    """Make the three masks half maps are judged with, from the map of all particles."""
    box = reference.shape[0]
    edge = max(2.0, 0.05 * box)
    return {
        "Spherical": spherical_mask(box, box / 2 - edge - 1, edge),
        "Loose": mask_from_map(reference, voxel_size, None, *LOOSE_MASK),
        "Tight": mask_from_map(reference, voxel_size, None, *TIGHT_MASK),
    }


def masked_curves(
    first: Float[np.ndarray, "n n n"],
    second: Float[np.ndarray, "n n n"],
    reference: Float[np.ndarray, "n n n"],
    voxel_size: float,
    seed: int = 0,
) -> dict[str, Float[np.ndarray, " shells"]]:
    """Give the five curves half maps are published with.

    **Arguments:** `reference`: the map of all particles, in which masks are found.

    **Returns:** `NoMask`, `Spherical`, `Loose`, `Tight` and `Corrected` (the tight curve with the
    mask's share taken off), one value a shell.
    """
    masks = {"NoMask": np.ones_like(reference), **half_map_masks(reference, voxel_size)}
    a, b = jnp.asarray(first), jnp.asarray(second)
    # One after the other: at large boxes the transforms of all at once would not fit.
    curves = {
        name: np.asarray(masked_fsc(a, b, jnp.asarray(mask, a.dtype)))
        for name, mask in masks.items()
    }
    shell = randomisation_shell(curves["Tight"])
    tight = jnp.asarray(masks["Tight"], a.dtype)
    curves["Corrected"] = np.asarray(corrected_fsc(a, b, tight, shell, jax.random.key(seed)))
    return curves


def randomisation_shell(masked: Float[np.ndarray, " shells"]) -> float:
    """Choose where to start randomising: `RANDOMISE_FROM` of the crossing of 0.143."""
    shell = crossing(masked, 0.143)
    return RANDOMISE_FROM * (len(masked) if shell is None else shell)

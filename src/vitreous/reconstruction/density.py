"""How densely slices fill Fourier space, by radius, and its compensation.

Slices crowd towards the origin (as 1/k), and CTFs weigh the samples further. Within the reach of
an interpolation kernel that pulls a voxel's value towards its better sampled side: by up to 4 %
at low frequency. Weighing every sample with the inverse density keeps kernels centred; the same
factor put back on the voxels leaves sums in units of counts. The map, a ratio, is untouched.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.geometry.half_space_radii import voxel_radii

# Images whose CTFs stand for those of the whole set.
SAMPLE = 256


def radial_density(transfer: Float[Array, "s p"], pixels: FourierPixels) -> Float[Array, " radii"]:
    """Estimate the density of weight at radii 0, 1, … `max_shell + 2`, up to a factor.

    **Arguments:** `transfer`: CTFs of a sample of the images at the first `p` of `pixels`.
    """
    count = transfer.shape[-1]
    shell = pixels.shell[:count]
    size = np.maximum(np.bincount(shell, minlength=pixels.max_shell + 1), 1)
    square = jnp.mean(transfer * transfer, axis=0)
    mean = jnp.zeros(len(size)).at[jnp.asarray(shell)].add(square) / jnp.asarray(size, jnp.float32)
    last = int(shell.max(initial=0))
    first = int(shell.min(initial=0))
    reach = np.clip(np.arange(-1, pixels.max_shell + 4), first, last)
    wide = mean[jnp.asarray(reach)]
    # Smoothed, lest the zeros of a single defocus hand all weight to the noise inside them.
    smooth = (wide[:-2] + 2 * wide[1:-1] + wide[2:]) / 4
    smooth = jnp.maximum(smooth, 1e-3 * jnp.max(smooth))
    radius = np.maximum(np.arange(len(smooth), dtype=np.float32), 0.5)
    return jnp.where(smooth > 0, smooth, 1) / jnp.asarray(radius)


def density_at(
    density: Float[Array, " radii"], radius: Float[Array | np.ndarray, "..."]
) -> Float[Array, "..."]:
    """Interpolate the density at any radii (cycles/box)."""
    inside = jnp.minimum(jnp.asarray(radius, jnp.float32), jnp.float32(len(density) - 1.001))
    lower = jnp.floor(inside).astype(jnp.int32)
    fraction = inside - lower.astype(jnp.float32)
    return density[lower] * (1 - fraction) + density[lower + 1] * fraction


def density_of_pixels(
    density: Float[Array, " radii"], pixels: FourierPixels, count: int
) -> Float[Array, " p"]:
    """Give the density at the first `count` pixels of an image."""
    return density_at(density, np.linalg.norm(pixels.frequency[:count], axis=-1))


def density_of_voxels(density: Float[Array, " radii"], box: int) -> Float[Array, "n n h"]:
    """Give the density at every voxel of a half space."""
    return density_at(density, voxel_radii(box))

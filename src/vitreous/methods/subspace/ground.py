"""What a fit stands on: half maps on the band's grid, and where in them the particle is."""

import logging
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from vitreous.methods.subspace.estimate import half_maps
from vitreous.methods.subspace.model import Band, Noise
from vitreous.methods.subspace.passes import Passes
from vitreous.particles.loader import PreparedImages
from vitreous.reconstruction.finish import Consensus
from vitreous.reconstruction.foundation import looks_dark, particle_radius
from vitreous.reconstruction.masks import spherical_mask

logger = logging.getLogger(__name__)


class Ground(NamedTuple):
    """Hold what a fit starts from.

    **Fields:** `half_maps`: on the band's grid. `radius`: of the particle in pixels. `is_dark`:
    the density is clearly negative.
    """

    half_maps: Float[np.ndarray, "2 m m m"]
    radius: float
    is_dark: bool = False

    def mask(self, box: int, size: int) -> Float[np.ndarray, "m m m"]:
        """Make the particle's soft ball on a grid of side `size` over the field of a box."""
        voxels = size / box
        edge = max(3.0, 0.05 * box)
        return spherical_mask(size, self.radius * voxels, soft_edge=edge * voxels)


def lay_ground(
    passes: Passes, half: np.ndarray, noise: Noise, particle_diameter: float | None = None
) -> Ground:
    """Reconstruct the half maps and measure the particle.

    **Arguments:** `half`: set of each image. `particle_diameter`: Å, None measures it.
    """
    maps, fsc = half_maps(passes, half, noise)
    return measure(maps, fsc, passes.data, passes.band, particle_diameter)


def measure(
    maps: Float[np.ndarray, "2 m m m"],
    fsc: Float[np.ndarray, " shells"],
    data: PreparedImages,
    band: Band,
    particle_diameter: float | None,
) -> Ground:
    """Find the particle in half maps, and whether it is dark."""
    if particle_diameter is not None:
        radius = particle_diameter / 2 / float(np.median(np.asarray(data.table.pixel_size)))
    else:
        shown = _finer(maps, band)
        radius = particle_radius(*shown) * data.box / shown.shape[-1]
    radius = float(np.clip(radius, 4.0, 0.5 * data.box - 1))
    logger.info("half maps of %d images, radius %.1f pixels", len(data), radius)
    consensus = Consensus(jnp.asarray(maps.mean(0)), jnp.asarray(maps), jnp.asarray(fsc))
    return Ground(maps, radius, looks_dark(consensus))


def _finer(maps: Float[np.ndarray, "2 m m m"], band: Band) -> Float[np.ndarray, "2 n n n"]:
    """Sample maps twice as finely, for radii that are no multiples of coarse voxels."""
    size, axes = min(band.box, 2 * band.size), (-3, -2, -1)
    transform = np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(maps, axes), axes=axes), axes)
    before = size // 2 - band.size // 2
    fill = (before, size - band.size - before)
    wide = np.pad(transform, [(0, 0), fill, fill, fill])
    wide = np.fft.fftshift(np.fft.ifftn(np.fft.ifftshift(wide, axes), axes=axes), axes)
    return wide.real.astype(np.float32)

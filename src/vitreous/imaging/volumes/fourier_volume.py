"""A density as its Fourier transform on a grid, ready to be sliced: the fastest to project."""

import logging
import os
from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int

from vitreous.geometry.fourier import coordinates, volume_from_half_space
from vitreous.geometry.shift import crop_centered
from vitreous.imaging.fourier_grid import (
    FourierGrid,
    half_space_of_grid,
    kernel_correction,
    volume_to_grid,
)
from vitreous.imaging.grid import ImageGrid, readable
from vitreous.imaging.interpolation import Kernel
from vitreous.imaging.slicing import sample_grid
from vitreous.imaging.volumes.base import Volume, known

logger = logging.getLogger(__name__)


class FourierVolume(Volume):
    """Hold a half space of Fourier voxels, compensated for the interpolation to come.

    **Fields:** `grid`: see `fourier_grid.FourierGrid`. `voxel_size`: Å.

    **Projects by:** `"slice"`.
    """

    grid: FourierGrid
    voxel_size: Float[Array, "..."]

    def __init__(self, grid: FourierGrid, voxel_size: float | Array) -> None:
        self.grid = grid
        self.voxel_size = readable(voxel_size, grid.values.dtype)

    @staticmethod
    def of(
        density: Float[Array | np.ndarray, "n n n"],
        voxel_size: float | Array,
        kernel: Kernel = "kaiser",
        padding: float = 1.0,
        keep_corners: bool = False,
    ) -> "FourierVolume":
        """Transform a density `(z, y, x)`; see `volume_to_grid` for the choices."""
        density = jnp.asarray(density)
        prepare = jax.jit(volume_to_grid, static_argnums=(1, 2, 3))
        return FourierVolume(prepare(density, padding, kernel, keep_corners), voxel_size)

    @staticmethod
    def from_mrc(
        path: str | os.PathLike,
        box: int | None = None,
        voxel_size: float | None = None,
        kernel: Kernel = "kaiser",
        padding: float = 1.0,
    ) -> "FourierVolume":
        """Read a map; see `VoxelVolume.from_mrc` and `of`."""
        from vitreous.imaging.volumes.voxel_volume import VoxelVolume

        return VoxelVolume.from_mrc(path, box, voxel_size).to_fourier(kernel, padding)

    @property
    def box(self) -> int:
        """Side of the density in voxels, without padding."""
        return self.grid.box

    def transform_at(
        self, frequency: Float[Array, "b p 3"], state: Int[Array, " b"] | None = None
    ) -> Complex[Array, "b p"]:
        """Interpolate the transform; 0 beyond the Nyquist frequency along any axis.

        **Arguments:** `state`: of a stack, which table each image reads.
        """
        scale = self.grid.shape.box * self.voxel_size
        values = sample_grid(self.grid, frequency.astype(scale.dtype) * scale, state)
        return values * (self.voxel_size**3).astype(values.dtype)

    def check(self, grid: ImageGrid) -> None:
        """Warn of images with finer detail than the map has, or too small for what it holds."""
        density = None if isinstance(self.grid.values, jax.core.Tracer) else self.to_density
        check_sampling(self.box, known(self.voxel_size), grid, density)

    def to_density(self) -> Float[Array, "n n n"]:
        """Return the density the grid was made of, `(z, y, x)`, without cut corners."""
        padded = self.grid.shape.box
        half = half_space_of_grid(self.grid)
        density = crop_centered(volume_from_half_space(half, padded), self.box, 3)
        correction = kernel_correction(self.box, padded, self.grid.kernel, keep_corners=True)
        return density / jnp.asarray(correction, density.dtype)


def check_sampling(
    box: int,
    voxel: float | None,
    grid: ImageGrid,
    density: Callable[[], Float[Array, "n n n"]] | None,
) -> None:
    """Warn of images finer than voxels, and of density outside the circle that fits them.

    **Arguments:** `density`: gives it, where it is known; called only if images are smaller.
    """
    pixel = known(grid.pixel_size)
    if pixel is None or voxel is None:
        return
    if pixel < 0.99 * voxel:
        logger.warning(
            "pixels of %.4g Å resolve up to %.4g Å, but the map of %.4g Å voxels holds nothing "
            "finer than %.4g Å: its images are smooth beyond",
            *(pixel, 2 * pixel, voxel, 2 * voxel),
        )
    extent = grid.box * pixel
    if extent > 0.99 * box * voxel:
        return
    lost = "what does not fit"
    if density is not None:
        with jax.ensure_compile_time_eval():
            weight = np.abs(np.asarray(density()))
        outside = np.linalg.norm(coordinates(box, 3), axis=-1) * voxel > extent / 2
        share = weight[outside].sum(dtype=np.float64) / max(weight.sum(dtype=np.float64), 1e-30)
        if share < 0.01:
            return
        lost = f"{100 * share:.1f} % of its density"
    logger.warning(
        "images of %.4g Å are smaller than the map of %.4g Å: %s wraps round; take a box of %d "
        "pixels or padding=%.3g",
        *(extent, box * voxel, lost, np.ceil(box * voxel / pixel), box * voxel / extent),
    )


def alike(volumes: Sequence[Volume]) -> bool:
    """Say whether volumes are Fourier volumes that can share one table."""
    first = volumes[0]
    return isinstance(first, FourierVolume) and all(
        isinstance(other, FourierVolume)
        and (other.grid.shape, other.grid.box, other.grid.kernel)
        == (first.grid.shape, first.grid.box, first.grid.kernel)
        and known(other.voxel_size) == known(first.voxel_size) is not None
        for other in volumes
    )


def stack_grids(volumes: Sequence[Volume]) -> FourierVolume:
    """Lay the tables of alike volumes one after the other, to be read by state."""
    grids = [volume.grid for volume in volumes if isinstance(volume, FourierVolume)]
    values = jnp.concatenate([grid.values for grid in grids])
    return eqx.tree_at(lambda v: v.grid.values, volumes[0], values)

"""A density on a cubic grid of voxels, as a map file holds it."""

import os
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from vitreous.errors import InputError
from vitreous.geometry.fourier import coordinates
from vitreous.imaging.grid import ImageGrid, readable
from vitreous.imaging.interpolation import Kernel
from vitreous.imaging.projection.nufft import transform_voxels
from vitreous.imaging.slicing import rotated_frequencies
from vitreous.imaging.volumes.base import Volume, known
from vitreous.imaging.volumes.fourier_volume import FourierVolume, check_sampling

if TYPE_CHECKING:
    from vitreous.imaging.volumes.gaussian_volume import GaussianVolume


class VoxelVolume(Volume):
    """Hold a density; every projection transforms it anew, so slice a `FourierVolume` in a loop.

    **Fields:** `density`: `U` in Å⁻² at voxel centres, `(z, y, x)`. `voxel_size`: Å.

    **Projects by:** `"slice"`: through a Fourier grid with cubic interpolation; `"nufft"`: exactly,
    as the trigonometric polynomial the voxels define.
    """

    density: Float[Array, "n n n"]
    voxel_size: Float[Array, "..."]

    def __init__(
        self, density: Float[Array | np.ndarray, "n n n"], voxel_size: float | Array
    ) -> None:
        self.density = jnp.asarray(density)
        self.voxel_size = readable(voxel_size, self.density.dtype)

    @staticmethod
    def from_mrc(
        path: str | os.PathLike, box: int | None = None, voxel_size: float | None = None
    ) -> "VoxelVolume":
        """Read a map, resampled and cut or padded to a box if one is asked for.

        **Arguments:** `box`, `voxel_size` (Å): as they are in the file unless given; one of them
        alone keeps the extent.

        **Raises:** `InputError` if the file is no cubic map or has no voxel size.
        """
        from vitreous.imaging.volumes.fitting import fit_map, sampling_of
        from vitreous.maps import read_map

        found = read_map(path)
        if len(set(found.data.shape)) > 1:
            raise InputError(f"{path}: is {found.data.shape}, not a cube; pad it to one")
        box, step = sampling_of(found, box, voxel_size)
        return VoxelVolume(fit_map(found, box, step, str(path)), step)

    @property
    def methods(self) -> tuple[str, ...]:
        """The ways to a projection."""
        return ("slice", "nufft")

    @property
    def box(self) -> int:
        """Side in voxels."""
        return self.density.shape[-1]

    def to_fourier(self, kernel: Kernel = "kaiser", padding: float = 1.0) -> FourierVolume:
        """Transform once, to be sliced often."""
        return FourierVolume.of(self.density, self.voxel_size, kernel, padding)

    def to_voxels(self, box: int, voxel_size: float | Array) -> "VoxelVolume":
        """Resample through the Fourier transform."""
        return self.to_fourier().to_voxels(box, voxel_size)

    def to_cloud(self, threshold: float = 0.0) -> "GaussianVolume":
        """List the voxels whose absolute density exceeds a threshold as points.

        Their projection by `"nufft"` costs what they are, not what the box is.
        """
        from vitreous.imaging.volumes.gaussian_volume import GaussianVolume

        if isinstance(self.density, jax.core.Tracer):
            raise ValueError("a cloud must be made before code is compiled: its size is not known")
        density = np.asarray(self.density)
        step = float(self.voxel_size)
        kept = np.abs(density) > threshold
        position = coordinates(self.box, 3)[kept] * np.float32(step)
        amplitude = density[kept][:, None] * np.asarray(step**3, density.dtype)
        return GaussianVolume(position.astype(density.dtype), amplitude, np.zeros_like(amplitude))

    def transform_at(self, frequency: Float[Array, "b p 3"]) -> Complex[Array, "b p"]:
        """Interpolate the transform; 0 beyond the Nyquist frequency along any axis."""
        return self.to_fourier().transform_at(frequency)

    def project(
        self, rotation: Float[Array, "b 3 3"], grid: ImageGrid, method: str
    ) -> Complex[Array, "b n h"]:
        """Integrate along the beam; see `projection.project`."""
        if method != "nufft":
            return self.to_fourier().project(rotation, grid, method)
        k = grid.frequencies().reshape(-1, 2).astype(rotation.dtype)
        turns = rotated_frequencies(rotation, k).astype(self.voxel_size.dtype) * self.voxel_size
        values = transform_voxels(self.density, turns.reshape(-1, 3))
        values = jnp.where(
            jnp.all(jnp.abs(turns) <= 0.5, axis=-1), values.reshape(len(turns), -1), 0
        )
        scale = self.voxel_size**3 / grid.pixel_size.astype(self.voxel_size.dtype) ** 2
        return values.reshape(-1, grid.box, grid.columns) * scale.astype(values.dtype)

    def check(self, grid: ImageGrid) -> None:
        """Warn of images with finer detail than the map has, or too small for what it holds."""
        traced = isinstance(self.density, jax.core.Tracer)
        check_sampling(
            self.box, known(self.voxel_size), grid, None if traced else lambda: self.density
        )

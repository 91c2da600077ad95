"""What every volume can do, whatever it is made of.

A volume is a scattering potential `U(x)` in Å⁻², `x = (x, y, z)` in Å from its centre. All that
imaging asks of it is its continuous Fourier transform; whoever knows a faster way to a projection
offers it as a method by name.
"""

import abc
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from vitreous.geometry.fourier import frequencies, volume_from_half_space
from vitreous.imaging.grid import ImageGrid
from vitreous.imaging.slicing import rotated_frequencies

if TYPE_CHECKING:
    from vitreous.imaging.volumes.voxel_volume import VoxelVolume


class Volume(eqx.Module):
    """Declare what a volume must know: its transform, and its ways to a projection.

    **Fields:** `voxel_size`: Å between samples, or None where there are none: a volume of
    unlimited detail. `methods`: the ways to a projection that `project` takes by name; `"slice"`,
    the transform at the frequencies of the rotated plane, is always among them.
    """

    if TYPE_CHECKING:

        @property
        def voxel_size(self) -> Array | None: ...

    else:
        voxel_size: eqx.AbstractVar[Float[Array, "..."] | None]

    @property
    def methods(self) -> tuple[str, ...]:
        """Names that `project` takes."""
        return ("slice",)

    @abc.abstractmethod
    def transform_at(self, frequency: Float[Array, "b p 3"]) -> Complex[Array, "b p"]:
        """Evaluate `∫ U(x) exp(−2πi q·x) d³x`, in Å.

        **Arguments:** `frequency`: `q` in cycles/Å in the frame of the volume, one set of points
        an image.
        """

    def best_method(self, grid: ImageGrid) -> str:
        """Name the method that `project` takes unless told otherwise."""
        return self.methods[0]

    def project(
        self, rotation: Float[Array, "b 3 3"], grid: ImageGrid, method: str
    ) -> Complex[Array, "b n h"]:
        """Integrate along the beam; see `projection.project`, which calls this."""
        k = grid.frequencies().reshape(-1, 2).astype(rotation.dtype)
        values = self.transform_at(rotated_frequencies(rotation, k))
        values = values.reshape(len(rotation), grid.box, grid.columns)
        return values / (grid.pixel_size**2).astype(values.dtype)

    def check(self, grid: ImageGrid) -> None:
        """Warn of what images of a grid cannot show; called where values are known."""

    def to_voxels(self, box: int, voxel_size: float | Array) -> "VoxelVolume":
        """Sample the volume on a cubic grid, band-limited to its Nyquist frequency."""
        from vitreous.imaging.volumes.voxel_volume import VoxelVolume

        step = jnp.asarray(voxel_size)
        k = frequencies(box, 3, half=True)
        points = jnp.asarray(k.reshape(1, -1, 3), step.dtype) / (box * step)
        half = self.transform_at(points).reshape(k.shape[:-1])
        density = volume_from_half_space(half / (step**3).astype(half.dtype), box)
        return VoxelVolume(density, step)


def known(value: Array | np.ndarray | float | None) -> float | None:
    """Return a number that can be known while code is compiled, None for a traced one."""
    if isinstance(value, jax.core.Tracer) or not isinstance(
        value, Array | np.ndarray | float | int
    ):
        return None
    return float(value) if np.ndim(value) == 0 else None


class _Plain(eqx.Module):
    """Carry a function that has no arrays of its own through compiled code."""

    function: Callable = eqx.field(static=True)

    def __call__(self, x: Array) -> Any:
        return self.function(x)


def as_module(function: Callable) -> Callable:
    """Return a callable that is a pytree of arrays: modules as they are, functions wrapped."""
    return function if isinstance(function, eqx.Module) else _Plain(function)

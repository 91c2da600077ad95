"""Any function of space, or of frequency, as a volume: networks, splines, closed forms."""

from collections.abc import Callable
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float

from vitreous.geometry.fourier import coordinates, half_plane
from vitreous.imaging.grid import ImageGrid, readable
from vitreous.imaging.interpolation import Kernel
from vitreous.imaging.volumes.base import Volume, as_module
from vitreous.imaging.volumes.fourier_volume import FourierVolume
from vitreous.imaging.volumes.voxel_volume import VoxelVolume


class NeuralVolume(Volume):
    """Let a function say what the volume is.

    **Fields:** `function`: takes points `(p, 3)` and returns `(p,)`: the potential in Å⁻² at
    places in Å (`space="real"`), or its transform in Å at frequencies in cycles/Å (`"fourier"`,
    complex). An equinox module's arrays are parameters; gradients reach them. `box` and
    `voxel_size` (Å): where a function of real space is sampled.

    **Projects by:** `"slice"`: the transform at the rotated plane; of a function of real space,
    sampled on its voxels first; `"integrate"` (real space only): the function summed along the
    beam at every pixel, as many times as the box has voxels.

    ```python
    def ball(x):  # a soft ball of 20 Å
        return jax.nn.sigmoid(20 - jnp.linalg.norm(x, axis=-1))

    volume = NeuralVolume(ball, box=64, voxel_size=1.5)
    ```
    """

    function: Callable[[Array], Array]
    box: int = eqx.field(static=True)
    voxel_size: Float[Array, "..."]
    space: Literal["real", "fourier"] = eqx.field(static=True)

    def __init__(
        self,
        function: Callable[[Array], Array],
        box: int,
        voxel_size: float | Array,
        space: Literal["real", "fourier"] = "real",
    ) -> None:
        self.function = as_module(function)
        self.box = box
        self.voxel_size = readable(voxel_size)
        self.space = space

    @property
    def methods(self) -> tuple[str, ...]:
        """The ways to a projection."""
        return ("slice", "integrate") if self.space == "real" else ("slice",)

    def to_voxels(self, box: int, voxel_size: float | Array) -> VoxelVolume:
        """Sample the function at voxel centres, or transform it from its frequencies."""
        if self.space == "fourier":
            return super().to_voxels(box, voxel_size)
        step = jnp.asarray(voxel_size)
        points = jnp.asarray(coordinates(box, 3), step.dtype) * step
        values = jax.lax.map(self.function, points.reshape(box, -1, 3))
        return VoxelVolume(values.reshape(box, box, box), step)

    def to_fourier(self, kernel: Kernel = "kaiser", padding: float = 1.0) -> FourierVolume:
        """Sample once, to be sliced often."""
        return self.to_voxels(self.box, self.voxel_size).to_fourier(kernel, padding)

    def transform_at(self, frequency: Float[Array, "b p 3"]) -> Complex[Array, "b p"]:
        """Call the function, or interpolate the transform of its samples."""
        if self.space == "real":
            return self.to_fourier().transform_at(frequency)
        return jax.lax.map(self.function, frequency)

    def project(
        self, rotation: Float[Array, "b 3 3"], grid: ImageGrid, method: str
    ) -> Complex[Array, "b n h"]:
        """Integrate along the beam; see `projection.project`."""
        if method == "slice":
            return super().project(rotation, grid, method)
        plane = grid.coordinates().reshape(-1, 2).astype(rotation.dtype)
        step = self.voxel_size.astype(rotation.dtype)
        depth = (jnp.arange(self.box, dtype=rotation.dtype) - self.box // 2) * step

        def one(turn: Float[Array, "3 3"]) -> Float[Array, "n n"]:
            def add(total, z):
                # x_volume = Rᵀ x_image.
                lab = jnp.concatenate([plane, jnp.broadcast_to(z, (len(plane), 1))], axis=1)
                points = jnp.matmul(lab, turn, precision="highest")
                return total + self.function(points), None

            total = jax.lax.scan(jax.checkpoint(add), jnp.zeros(len(plane), step.dtype), depth)[0]
            return (total * step).reshape(grid.box, grid.box)

        return half_plane(jax.lax.map(one, rotation))

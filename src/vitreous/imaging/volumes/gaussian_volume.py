"""A molecule as a sum of Gaussians: no voxels, every formula in closed form."""

import logging

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from vitreous.imaging.gaussians import GaussianAtoms, gaussian_map, transform_gaussians
from vitreous.imaging.grid import ImageGrid
from vitreous.imaging.projection.nufft import project_by_nufft
from vitreous.imaging.projection.separable import project_separably
from vitreous.imaging.projection.spreading import project_by_spreading, spreading_plan
from vitreous.imaging.volumes.base import Volume, known
from vitreous.imaging.volumes.voxel_volume import VoxelVolume

logger = logging.getLogger(__name__)


class GaussianVolume(Volume):
    """Hold `m` points of `k` Gaussians each; points of zero width are a cloud of voxels.

    **Fields:** `position`: Å from the centre, `(m, 3)`, or `(b, m, 3)` with one conformation an
    image. `amplitude`: the integral of each Gaussian in Å, `(m, k)`. `variance`: Å² along an axis,
    `(m, k)`. `widths`: the least and the largest standard deviation in Å, if known when made.

    **Projects by:** `"separable"`: a matrix product in Fourier space, exact for any width;
    `"spread"`: each Gaussian onto the pixels it reaches, for many wide ones; `"nufft"`: a
    non-uniform FFT, for very many; `"slice"`: term by term, the slowest and plainest.
    """

    position: Float[Array, "... m 3"]
    amplitude: Float[Array, "m k"]
    variance: Float[Array, "m k"]
    widths: tuple[float, float] | None = eqx.field(static=True)

    def __init__(
        self,
        position: Float[Array | np.ndarray, "... m 3"],
        amplitude: Float[Array | np.ndarray, "m k"],
        variance: Float[Array | np.ndarray, "m k"],
        widths: tuple[float, float] | None = None,
    ) -> None:
        self.position = jnp.asarray(position)
        self.amplitude = jnp.asarray(amplitude)
        self.variance = jnp.asarray(variance)
        if widths is None and not isinstance(variance, jax.core.Tracer) and np.size(variance):
            sigma = np.sqrt(np.asarray(variance, np.float64))
            widths = float(sigma.min()), float(sigma.max())
        self.widths = widths

    @property
    def methods(self) -> tuple[str, ...]:
        """The ways to a projection."""
        return ("separable", "spread", "nufft", "slice")

    @property
    def voxel_size(self) -> None:
        """None: Gaussians have no voxels."""
        return None

    @property
    def gaussians(self) -> GaussianAtoms:
        """The same as the plain arrays that functions of `imaging.gaussians` take."""
        return GaussianAtoms(self.position, self.amplitude, self.variance)

    @staticmethod
    def of(atoms: GaussianAtoms) -> "GaussianVolume":
        """Make a volume of plain arrays."""
        return GaussianVolume(*atoms)

    def transform_at(self, frequency: Float[Array, "b p 3"]) -> Complex[Array, "b p"]:
        """Add up the transforms of all Gaussians."""
        return transform_gaussians(self.gaussians, frequency.astype(self.position.dtype))

    def best_method(self, grid: ImageGrid) -> str:
        """Spread many Gaussians that reach few pixels; multiply matrices for the rest."""
        pixel = known(grid.pixel_size)
        if self.widths is None or pixel is None:
            return "separable"
        plan = spreading_plan(self.widths, grid.box, pixel)
        if plan.window > plan.box:
            return "separable"
        # Nanoseconds on one CPU core: a pixel of a window, of an FFT, of an outer product.
        spreading = 1.2 * self.amplitude.size * plan.window**2 + 10 * plan.box**2
        return "spread" if spreading < 0.1 * self.amplitude.size * grid.box**2 else "separable"

    def project(
        self, rotation: Float[Array, "b 3 3"], grid: ImageGrid, method: str
    ) -> Complex[Array, "b n h"]:
        """Integrate along the beam; see `projection.project`."""
        rotation = rotation.astype(self.position.dtype)
        if method == "separable":
            return project_separably(self.gaussians, rotation, grid)
        if method == "spread":
            plan = spreading_plan(self.widths, grid.box, known(grid.pixel_size))
            return project_by_spreading(self.gaussians, rotation, grid, plan)
        if method == "nufft":
            return project_by_nufft(self.gaussians, rotation, grid, self.widths)
        return super().project(rotation, grid, method)

    def check(self, grid: ImageGrid) -> None:
        """Warn of what lies outside the circle that fits the images."""
        if isinstance(self.position, jax.core.Tracer) or isinstance(
            self.amplitude, jax.core.Tracer
        ):
            return
        pixel = known(grid.pixel_size)
        if pixel is None or self.position.ndim != 2:
            return
        extent = grid.box * pixel
        share = self.share_outside(extent / 2)
        if share > 0.01:
            logger.warning(
                "%.1f %% of the molecule lies outside the circle of %.4g Å across that fits the "
                "images, and wraps round; take a box of %d pixels or more",
                *(100 * share, extent, np.ceil(2 * self.radius / pixel)),
            )

    @property
    def radius(self) -> float:
        """Distance of the farthest centre from the origin, Å; only where positions are known."""
        return float(np.linalg.norm(np.asarray(self.position), axis=-1).max(initial=0))

    def share_outside(self, radius: float) -> float:
        """Return the share of the scattering of atoms farther than `radius` Å from the centre."""
        distance = np.linalg.norm(np.asarray(self.position), axis=-1)
        weight = np.abs(np.asarray(self.amplitude)).sum(axis=-1)
        return float(weight[distance > radius].sum() / max(weight.sum(), 1e-30))

    def to_voxels(self, box: int, voxel_size: float | Array) -> VoxelVolume:
        """Average the Gaussians over voxels."""
        step = known(voxel_size)
        if step is None:
            return super().to_voxels(box, voxel_size)
        draw = jax.jit(gaussian_map, static_argnames=("box", "voxel_size", "sampling", "chunk"))
        return VoxelVolume(draw(self.gaussians, box=box, voxel_size=step), step)

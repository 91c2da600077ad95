"""Images of Gaussians, as the Fourier pixels of the band in use.

The band is drawn on a grid just fine enough for it. How is a matter of size: matrix products for
few Gaussians or small images, spreading or non-uniform transforms for many.
"""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.imaging.gaussians import GaussianAtoms
from vitreous.imaging.grid import ImageGrid
from vitreous.imaging.projection.nufft import project_by_nufft
from vitreous.imaging.projection.separable import project_separably
from vitreous.imaging.projection.spreading import project_by_spreading, spreading_plan

Method = Literal["auto", "separable", "spread", "nufft"]


@dataclass(frozen=True)
class Renderer:
    """Draw Gaussians up to a shell.

    **Fields:** `box`, `pixel_size` (Å): of the full images. `shell`: outermost one drawn. `widths`:
    bounds of the Gaussians' widths in Å, which spreading must know. `method`: `"auto"` chooses.
    """

    box: int
    pixel_size: float
    shell: int
    widths: tuple[float, float]
    method: Method = "auto"

    @property
    def side(self) -> int:
        """Side of the grid that just holds the band."""
        return min(2 * self.shell + 2, self.box)

    @property
    def step(self) -> float:
        """Its pixel size, Å."""
        return self.box * self.pixel_size / self.side

    @property
    def pixels(self) -> FourierPixels:
        """The pixels drawn, in the order of those of the full image."""
        return FourierPixels(self.side, self.shell)

    def chosen(self, gaussians: int) -> str:
        """Choose how to draw so many Gaussians."""
        if self.method != "auto":
            return self.method
        plan = spreading_plan(self.widths, self.side, self.step)
        if plan.window > plan.box:
            return "separable"
        # Nanoseconds on one core, forth and back: a pixel of a window, of an FFT, of a product.
        spreading = 1.2 * gaussians * plan.window**2 + 10 * plan.box**2
        return "spread" if spreading < 0.1 * gaussians * self.side**2 else "separable"

    def __call__(
        self, atoms: GaussianAtoms, rotation: Float[Array, "b 3 3"]
    ) -> Complex[Array, "b p"]:
        """Return `Σ a exp(−2π²σ²k²) exp(−2πi k·Rx)` at the pixels of the band."""
        grid = ImageGrid(self.side, self.step)
        how = self.chosen(atoms.amplitude.shape[0])
        half: Complex[Array, "b n h"]
        if how == "separable":
            half = project_separably(atoms, rotation, grid)
        elif how == "spread":
            plan = spreading_plan(self.widths, self.side, self.step)
            half = project_by_spreading(atoms, rotation, grid, plan)
        else:
            half = project_by_nufft(atoms, rotation, grid, self.widths)
        area = jnp.asarray(self.step**2, half.real.dtype)
        return self.pixels.gather(half) * area.astype(half.dtype)

    def slopes(
        self,
        atoms: GaussianAtoms,
        rotation: Float[Array, "b 3 3"],
        directions: Float[Array, "d b m 3"],
    ) -> Complex[Array, "d b p"]:
        """Return how images change as their Gaussians move along some directions.

        `∂F = Σ_x −2πi k_x F[a · (R d)_x]`: two drawings a direction, with other weights; so no
        derivative of the drawing itself is needed, which spreading has one way only.
        """
        amplitude = jnp.asarray(atoms.amplitude)
        lab = jnp.einsum("bij,dbmj->bdim", rotation[:, :2], directions, precision="highest")
        k = jnp.asarray(self.pixels.frequency) / (self.side * self.step)
        turn = jax.lax.complex(jnp.zeros_like(k), -2 * np.pi * k).T

        def one(given):
            points, matrix, moves = given

            def weighed(weight: Float[Array, " m"]) -> Complex[Array, " p"]:
                some = GaussianAtoms(points[None], amplitude * weight[:, None], atoms.variance)
                return self(some, matrix[None])[0]

            count = moves.shape[0]
            drawn = jax.lax.map(weighed, moves.reshape(2 * count, -1))
            return jnp.sum(drawn.reshape(count, 2, -1) * turn[None], axis=1)

        return jnp.swapaxes(jax.lax.map(one, (atoms.position, rotation, lab)), 0, 1)

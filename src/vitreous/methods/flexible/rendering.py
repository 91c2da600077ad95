"""Images of Gaussians, as the Fourier pixels of the band in use.

The band is drawn on a grid just fine enough for it. How is a matter of size: matrix products for
few Gaussians or small images, spreading or non-uniform transforms for many.
"""

from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
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
        if how == "separable":
            half = project_separably(atoms, rotation, grid)
        elif how == "spread":
            plan = spreading_plan(self.widths, self.side, self.step)
            half = project_by_spreading(atoms, rotation, grid, plan)
        else:
            half = project_by_nufft(atoms, rotation, grid, self.widths)
        area = jnp.asarray(self.step**2, half.real.dtype)
        return self.pixels.gather(half) * area.astype(half.dtype)

"""What a flexible fit starts from: measured or read once, kept with the run."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from vitreous.methods.flexible.config import FlexibleConfig
from vitreous.methods.flexible.deformation import make_deformation
from vitreous.methods.flexible.gaussian_model import GaussianModel
from vitreous.methods.flexible.state import Moving

# Gaussians may grow and shrink by this factor before spreading would cut them off.
_WIDTH_RANGE = 2.5


class Start(NamedTuple):
    """Hold the start of a fit.

    **Fields:** `gaussians`: of either half. `edges`: the springs. `noise`: power of each optics
    group on each shell. `shell`: outermost one used. `radius`: of the molecule, Å. `reach`: Å that
    a mode moves by at first. `latents`: first guesses, or None.
    """

    gaussians: GaussianModel
    edges: Int[np.ndarray, "e 2"]
    noise: Float[np.ndarray, "o shells"]
    shell: int
    radius: float
    reach: float
    latents: Float[np.ndarray, "n d"] | None = None

    @property
    def width_bounds(self) -> tuple[float, float]:
        """Widths between which Gaussians are drawn rightly, Å."""
        width = np.exp(np.asarray(self.gaussians.log_width, np.float64))
        return float(width.min() / _WIDTH_RANGE), float(width.max() * _WIDTH_RANGE)

    def moving(self, config: FlexibleConfig, key: jax.Array) -> Moving:
        """Make one half's model: the same Gaussians, a field of its own."""
        field = make_deformation(
            config.decoder,
            config.zdim,
            self.radius,
            self.reach,
            key,
            modes=config.modes,
            width=config.width,
            depth=config.depth,
        )
        return Moving(jax.tree.map(jnp.asarray, self.gaussians), field)

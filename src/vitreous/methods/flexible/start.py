"""What a flexible fit starts from: measured or read once, kept with the run."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, UInt8

from vitreous.methods.flexible.bodies.rigid_bodies import BodyPlan, make_bodies
from vitreous.methods.flexible.config import FlexibleConfig
from vitreous.methods.flexible.deformation import (
    Deformation,
    FactorisedDeformation,
    make_deformation,
)
from vitreous.methods.flexible.gaussian_model import GaussianModel
from vitreous.methods.flexible.masked import masked
from vitreous.methods.flexible.starts.landscape_start import fit_modes
from vitreous.methods.flexible.state import Moving

# Gaussians may grow and shrink by this factor before spreading would cut them off.
_WIDTH_RANGE = 2.5


class Start(NamedTuple):
    """Hold the start of a fit.

    **Fields:** `gaussians`: of either half. `edges`: the springs. `noise`: power of each optics
    group on each shell. `shell`: outermost one used. `radius`: of the molecule, Å. `reach`: Å that
    a mode moves by at first. `latents`: first guesses, or None. `bodies`: what moves as one, or
    None. `mask`: where anything may move (0 to 255), of voxels of `voxel_size` Å, or None. `modes`:
    `(g, k, 3)` Å at the Gaussians that a factorised field begins with, or None.
    """

    gaussians: GaussianModel
    edges: Int[np.ndarray, "e 2"]
    noise: Float[np.ndarray, "o shells"]
    shell: int
    radius: float
    reach: float
    latents: Float[np.ndarray, "n d"] | None = None
    bodies: BodyPlan | None = None
    mask: UInt8[np.ndarray, "n n n"] | None = None
    voxel_size: float = 1.0
    modes: Float[np.ndarray, "g k 3"] | None = None

    @property
    def width_bounds(self) -> tuple[float, float]:
        """Widths between which Gaussians are drawn rightly, Å."""
        width = np.exp(np.asarray(self.gaussians.log_width, np.float64))
        return float(width.min() / _WIDTH_RANGE), float(width.max() * _WIDTH_RANGE)

    def moving(self, config: FlexibleConfig, key: jax.Array) -> Moving:
        """Make one half's model: the same Gaussians, a field of its own."""
        return Moving(jax.tree.map(jnp.asarray, self.gaussians), self._field(config, key))

    def _field(self, config: FlexibleConfig, key: jax.Array) -> Deformation:
        field: Deformation
        if self.bodies is not None:
            field = make_bodies(self.bodies, config.zdim, self.reach, key, width=config.width)
        else:
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
        if self.modes is not None and isinstance(field, FactorisedDeformation):
            field = fit_modes(field, np.asarray(self.gaussians.positions), self.modes)
        return field if self.mask is None else masked(field, self.mask, self.voxel_size)

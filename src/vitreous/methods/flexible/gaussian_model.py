"""The consensus as a sum of Gaussians, in Å from the box centre and units of prepared pixels."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vitreous.imaging.gaussians import GaussianAtoms, gaussian_map


class GaussianModel(eqx.Module):
    """Hold `g` Gaussians: at `positions` (Å, `(x, y, z)`), of some `amplitude` and `width` (σ, Å).

    The amplitude is the Gaussian's share of the zero frequency of prepared images without CTF.
    Amplitudes and widths are kept as logarithms: they stay positive, and steps are shares.
    """

    positions: Float[Array, "g 3"]
    log_amplitude: Float[Array, " g"]
    log_width: Float[Array, " g"]

    @classmethod
    def of(
        cls,
        positions: Float[Array | np.ndarray, "g 3"],
        amplitude: Float[Array | np.ndarray, " g"],
        width: Float[Array | np.ndarray, " g"],
    ) -> "GaussianModel":
        """Make a model of plain numbers."""
        fields = (positions, np.log(np.asarray(amplitude)), np.log(np.asarray(width)))
        return cls(*(jnp.asarray(field, jnp.float32) for field in fields))

    @property
    def amplitude(self) -> Float[Array, " g"]:
        """Integral of each Gaussian."""
        return jnp.exp(self.log_amplitude)

    @property
    def width(self) -> Float[Array, " g"]:
        """Standard deviation of each Gaussian, Å."""
        return jnp.exp(self.log_width)

    def __len__(self) -> int:
        return len(self.positions)

    def atoms(self, displacement: Float[Array, "... g 3"] | None = None) -> GaussianAtoms:
        """Return plain arrays for the functions of `imaging`, moved in every image if asked."""
        where = self.positions
        if displacement is not None:
            where = where.reshape(*(1,) * (displacement.ndim - 2), *where.shape) + displacement
        return GaussianAtoms(where, self.amplitude[:, None], (self.width**2)[:, None])


def draw_map(
    gaussians: GaussianModel,
    displacement: Float[Array, "g 3"],
    box: int,
    pixel_size: float,
) -> Float[Array, "n n n"]:
    """Lay moved Gaussians onto voxels, in the units of maps of prepared pixels."""
    atoms = gaussians.atoms(displacement)
    return gaussian_map(atoms, box, pixel_size) * pixel_size**3


draw_map_jitted = jax.jit(draw_map, static_argnames=("box", "pixel_size"))

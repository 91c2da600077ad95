"""How many electrons an image is made of."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from vitreous.imaging.grid import ImageGrid
from vitreous.imaging.operators import as_real


class Exposure(eqx.Module):
    """A beam as wide as the image. **Field:** `dose` in e/Å², one number or one an image."""

    dose: Float[Array | np.ndarray, "..."] | float = eqx.field(converter=as_real)

    def __check_init__(self) -> None:
        if isinstance(self.dose, Tracer):
            return
        if not np.all(np.asarray(self.dose) >= 0):
            raise ValueError(f"a dose in e/Å² is not negative: {self.dose}")

    def electrons(self, grid: ImageGrid) -> Float[Array, "..."]:
        """Return how many electrons fall on a pixel on average, `dose · Δ²`."""
        return jnp.asarray(self.dose) * grid.pixel_size**2

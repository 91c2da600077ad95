"""Cameras: how electrons that arrive become pixel values.

Electrons blur before they are counted (by `√(DQE(k)/DQE(0))`), a share `DQE(0)` of them is counted
with Poisson or Gaussian noise, and the read-out blurs signal and noise alike (by the rest of the
MTF). So the signal is multiplied by `DQE(0) · MTF`, and `DQE = MTF² / (N · NPS)` as it should be.
"""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vitreous.imaging.grid import ImageGrid
from vitreous.imaging.operators import Constant, Number, Operator, apply_filter, as_operator

Statistics = Literal["poisson", "gaussian"]


class Detector(eqx.Module):
    """A camera.

    **Fields:** `mtf`: modulation transfer, 1 at zero frequency; `None` for a perfect one. `dqe`:
    detective quantum efficiency, a number or an operator; `None` for `MTF²`, noise being white.
    `statistics`: `"poisson"` counts or their Gaussian approximation.
    """

    mtf: Operator | None
    dqe: Operator | None
    statistics: Statistics = eqx.field(static=True)

    def __init__(
        self,
        statistics: Statistics = "poisson",
        mtf: Operator | None = None,
        dqe: Operator | Number | None = None,
    ) -> None:
        if statistics not in ("poisson", "gaussian"):
            raise ValueError(f'a detector is "poisson" or "gaussian", not {statistics!r}')
        self.mtf = mtf
        self.dqe = None if dqe is None else as_operator(dqe)
        self.statistics = statistics

    def rate(self, arriving: Float[Array, "b n n"], grid: ImageGrid) -> Float[Array, "b n n"]:
        """Return how many electrons each pixel counts on average, never less than 0.

        **Arguments:** `arriving`: electrons a pixel.
        """
        if self.dqe is None:
            counted = arriving if self.mtf is None else apply_filter(arriving, self.mtf, grid)
        else:
            efficiency = self.dqe(jnp.zeros((1, 2), grid.pixel_size.dtype))[0]
            counted = efficiency * apply_filter(arriving, (self.dqe / efficiency) ** 0.5, grid)
        return jnp.maximum(counted, 0)

    def read_out(self, counted: Float[Array, "b n n"], grid: ImageGrid) -> Float[Array, "b n n"]:
        """Blur counts to what the camera reads out."""
        blur = self._read_out_blur(grid)
        return counted if blur is None else apply_filter(counted, blur, grid)

    def sample(
        self, key: jax.Array, arriving: Float[Array, "b n n"], grid: ImageGrid
    ) -> Float[Array, "b n n"]:
        """Draw what the camera reads out; each image has its own random stream."""
        rate = self.rate(arriving, grid)
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(rate.shape[0]))
        if self.statistics == "poisson":
            counts = jax.vmap(jax.random.poisson)(keys, rate).astype(rate.dtype)
        else:
            white = jax.vmap(lambda k: jax.random.normal(k, rate.shape[1:], rate.dtype))(keys)
            counts = rate + jnp.sqrt(rate) * white
        return self.read_out(counts, grid)

    def log_likelihood(
        self,
        observed: Float[Array, "b n n"],
        arriving: Float[Array, "b n n"],
        grid: ImageGrid,
    ) -> Float[Array, " b"]:
        """Return the log-probability of counts, or its density if they are Gaussian.

        **Raises:** `ValueError` if read-out blurs: its pixels are no longer independent.
        """
        if self._read_out_blur(grid) is not None:
            raise ValueError("a likelihood needs independent pixels: leave out the detector's dqe")
        rate = jnp.maximum(self.rate(arriving, grid), jnp.finfo(arriving.dtype).tiny)
        if self.statistics == "poisson":
            terms = observed * jnp.log(rate) - rate - jax.scipy.special.gammaln(observed + 1)
        else:
            terms = jax.scipy.stats.norm.logpdf(observed, rate, jnp.sqrt(rate))
        return jnp.sum(terms, axis=(-2, -1))

    def _read_out_blur(self, grid: ImageGrid) -> Operator | None:
        """Return what is left of the MTF after the blur before counting, `None` for nothing."""
        if self.dqe is None or (self.mtf is None and isinstance(self.dqe, Constant)):
            return None
        efficiency = self.dqe(jnp.zeros((1, 2), grid.pixel_size.dtype))[0]
        mtf = as_operator(1.0) if self.mtf is None else self.mtf
        return mtf / (self.dqe / efficiency) ** 0.5

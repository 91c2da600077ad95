"""Choose Fourier pixels for a step: all low shells, an unbiased sample of the others.

High shells hold most pixels and little signal. Pixels beyond the low shells are drawn by
stratified sampling with a probability that follows the expected signal, and weighted by its
inverse, so the expected loss is that of all pixels.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vitreous.geometry.fourier_pixels import FourierPixels


class PixelSampler(eqx.Module):
    """Draw positions in the list of a `FourierPixels`.

    **Fields:** `low`: number of leading pixels always taken. `drawn`: how many of the rest.
    `cumulative`: cumulative probability over the rest, ending at 1. Draws nothing when `drawn`
    reaches the rest: then every pixel is taken once.
    """

    cumulative: Float[Array, " rest"]
    low: int = eqx.field(static=True)
    drawn: int = eqx.field(static=True)

    def __init__(
        self,
        pixels: FourierPixels,
        low_shell: int,
        drawn: int | None,
        importance: Float[np.ndarray, " shells"] | None = None,
    ) -> None:
        """**Arguments:** `drawn`: pixels per step beyond `low_shell`; None takes all.

        `importance`: per shell, proportional to the probability of its pixels (None: uniform).
        """
        self.low = pixels.count_up_to(low_shell)
        rest = len(pixels) - self.low
        self.drawn = rest if drawn is None else min(drawn, rest)
        weight = np.ones(rest) if importance is None else importance[pixels.shell[self.low :]]
        # A tenth of the draws stays uniform, which bounds every weight.
        weight = 0.9 * weight / max(weight.sum(), 1e-30) + 0.1 / max(rest, 1)
        self.cumulative = jnp.asarray(np.cumsum(weight) / max(weight.sum(), 1e-30), jnp.float32)

    @property
    def count(self) -> int:
        """Pixels per step."""
        return self.low + self.drawn

    def __call__(self, key: jax.Array) -> tuple[Int[Array, " count"], Float[Array, " count"]]:
        """Return positions (the low ones first) and weights."""
        rest = self.cumulative.shape[0]
        low = jnp.arange(self.low, dtype=jnp.int32)
        if self.drawn == rest:
            return jnp.arange(self.low + rest, dtype=jnp.int32), jnp.ones(self.low + rest)
        stratum = jnp.arange(self.drawn, dtype=jnp.float32)
        place = (stratum + jax.random.uniform(key, (self.drawn,))) / self.drawn
        chosen = jnp.searchsorted(self.cumulative, place).astype(jnp.int32)
        chosen = jnp.minimum(chosen, rest - 1)
        probability = jnp.diff(self.cumulative, prepend=jnp.zeros(1))[chosen]
        weight = 1 / (self.drawn * probability)
        return (
            jnp.concatenate([low, self.low + chosen]),
            jnp.concatenate([jnp.ones(self.low), weight]),
        )

"""Learning rates and other coefficients as functions of training progress in [0, 1]."""

from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Decay = Literal["constant", "linear", "cosine"]
Progress = Float[Array, ""] | float | int


def warmup_decay(
    progress: Progress,
    peak: float,
    *,
    warmup: float = 0.05,
    decay: Decay = "cosine",
    final: float = 0.0,
) -> Float[Array, ""]:
    """Rise linearly from 0 to `peak`, then decay to `final · peak`.

    **Arguments:** `progress`: share of the training done. `warmup`: share spent rising. `decay`:
    `"constant"` stays at the peak, `"linear"` falls evenly, `"cosine"` by half a cosine.
    `final`: what is left at the end, as a fraction of the peak.
    """
    p = jnp.asarray(progress, jnp.float32)
    rise = p / warmup if warmup > 0 else jnp.ones_like(p)
    fall = jnp.clip((p - warmup) / max(1 - warmup, 1e-12), 0, 1)
    if decay == "constant":
        left = jnp.ones_like(p)
    elif decay == "linear":
        left = 1 - fall
    else:
        left = 0.5 * (1 + jnp.cos(np.pi * fall))
    return peak * jnp.minimum(rise, 1) * (final + (1 - final) * left)


def linear_ramp(
    x: Progress, start: float, stop: float, first: float, last: float
) -> Float[Array, ""]:
    """Go linearly from `first` at `x = start` to `last` at `x = stop`, constant outside."""
    share = jnp.clip((jnp.asarray(x, jnp.float32) - start) / max(stop - start, 1e-12), 0, 1)
    return first + (last - first) * share

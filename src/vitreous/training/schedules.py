"""Learning rates and other coefficients as functions of training progress in [0, 1]."""

from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Decay = Literal["constant", "linear", "cosine"]
Progress = Float[Array, ""] | float | int

# Images seen at start and end of a linear ramp, and β there, as in cryoDRGN 4.3.
_RAMPS: dict[str, tuple[float, float, float, float]] = {
    "a": (0, 1e6, 0.001, 15),
    "b": (2e5, 8e5, 5, 15),
    "c": (2e5, 8e5, 5, 18),
    "d": (1e6, 5e6, 5, 18),
}


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


def beta_at(schedule: float | str, images_seen: Float[Array, ""]) -> Float[Array, ""]:
    """Return β after a number of images: a constant, or one of the ramps `a`–`d`."""
    if isinstance(schedule, str):
        start, end, low, high = _RAMPS[schedule]
        fraction = jnp.clip((images_seen - start) / (end - start), 0.0, 1.0)
        return low + (high - low) * fraction
    return jnp.full((), schedule, jnp.float32)

"""How radiation damage fades an image: the exposure filter of tilt series and movies."""

import jax.numpy as jnp
from jaxtyping import Array, Float

# Where the signal-to-noise ratio of an image stops growing with dose: the root of
# x = 2 ln(1 + x), in units of the critical exposure.
OPTIMAL_EXPOSURE = 2.51284


def critical_exposure(
    frequency: Float[Array, "..."], voltage: Float[Array, "..."]
) -> Float[Array, "..."]:
    """Return the exposure (e/Å²) that fades a frequency (cycles/Å, above 0) to 1/e.

    The power term is 0.75 as large at 200 kV as at 300 kV; between and below, linear in voltage.

    **Source:** Grant & Grigorieff (2015), eq. 3: `0.245 s^−1.665 + 2.81` at 300 kV.
    """
    scale = jnp.clip(1 + 0.0025 * (voltage - 300), 0.5, 1.0)
    return 0.245 * scale * frequency**-1.665 + 2.81


def dose_filter(
    frequency: Float[Array, "b p 2"], dose: Float[Array, " b"], voltage: Float[Array, " b"]
) -> Float[Array, "b p"]:
    """Return the share of amplitude that survives a dose.

    **Arguments:** `frequency`: `(kx, ky)` in cycles/Å. `dose`: e/Å². `voltage`: kV.

    **Returns:** `exp(−N / 2Nc)`, and 0 beyond the optimal exposure, where an image only adds
    noise.
    """
    square = jnp.sum(frequency * frequency, axis=-1)
    critical = critical_exposure(jnp.sqrt(jnp.maximum(square, 1e-12)), voltage[:, None])
    ratio = dose[:, None] / critical
    return jnp.where(ratio < OPTIMAL_EXPOSURE, jnp.exp(-0.5 * ratio), 0.0)

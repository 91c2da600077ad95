"""How radiation damage fades an image: the exposure filter of simulations, tilt series and movies.

Doses are e/Å², frequencies cycles/Å.
"""

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


def _exposure_ratio(
    frequency: Float[Array, "... p 2"], dose: Float[Array, "..."], voltage: Float[Array, "..."]
) -> Float[Array, "... p"]:
    """Return dose over critical exposure; it ends at 1e-6 cycles/Å, where the latter diverges."""
    square = jnp.sum(frequency * frequency, axis=-1)
    critical = critical_exposure(jnp.sqrt(jnp.maximum(square, 1e-12)), voltage[..., None])
    return dose[..., None] / critical


def dose_decay(
    frequency: Float[Array, "... p 2"], dose: Float[Array, "..."], voltage: Float[Array, "..."]
) -> Float[Array, "... p"]:
    """Return the share of amplitude that survives a dose, `exp(−N / 2Nc)`.

    **Arguments:** `frequency`: `(kx, ky)` in cycles/Å. `dose`: e/Å². `voltage`: kV. They share
    their leading axes.

    **Source:** Grant & Grigorieff (2015) eLife 4, e06980.
    """
    return jnp.exp(-0.5 * _exposure_ratio(frequency, dose, voltage))


def dose_filter(
    frequency: Float[Array, "b p 2"], dose: Float[Array, " b"], voltage: Float[Array, " b"]
) -> Float[Array, "b p"]:
    """Weight the images of a series: `dose_decay`, and 0 beyond the optimal exposure.

    There an image only adds noise to a sum.
    """
    ratio = _exposure_ratio(frequency, dose, voltage)
    return jnp.where(ratio < OPTIMAL_EXPOSURE, jnp.exp(-0.5 * ratio), 0.0)


def frame_weights(
    frequency: Float[Array, "p 2"], dose: Float[Array, " frames"], voltage: Float[Array, ""]
) -> Float[Array, "frames p"]:
    """Weight the frames of a movie so that their sum keeps the noise power of one frame.

    **Arguments:** `dose`: received by the middle of each frame.

    **Returns:** `qᵢ / √Σ qⱼ²` with the decays `q`: multiply the transform of each frame and add.

    **Source:** Grant & Grigorieff (2015) eLife 4, e06980.
    """
    shared = jnp.broadcast_to(frequency, (dose.shape[0], *frequency.shape))
    decay = dose_decay(shared, dose, jnp.broadcast_to(voltage, dose.shape))
    return decay * jnp.reshape(jnp.sum(decay * decay, axis=0) ** -0.5, (1, -1))

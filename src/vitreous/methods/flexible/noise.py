"""Noise spectra that follow the residuals of a fit, optics group by optics group."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

_MEMORY = 0.98
# What a spectrum may change by in one step's opinion.
_RANGE = (0.25, 4.0)


def residual_power(
    square: Float[Array, "b p"],
    weight: Float[Array, " b"],
    group: Int[Array, " b"],
    shell: Int[np.ndarray, " p"],
    mates: Float[np.ndarray, " p"],
    like: Float[Array, "o shells"],
) -> tuple[Float[Array, "o shells"], Float[Array, "o shells"]]:
    """Add up whitened residuals, and how many pixels there are, by optics group and shell.

    **Arguments:** `square`: of residuals, half-plane weights `mates` included. `weight`: 0 for
    padding. `like`: spectra, for their shape.
    """
    o, shells = like.shape
    place = group[:, None] * shells + jnp.asarray(shell)[None]
    count = jnp.broadcast_to(jnp.asarray(mates)[None], square.shape)
    power, size = (
        jax.ops.segment_sum((x * weight[:, None]).reshape(-1), place.reshape(-1), o * shells)
        for x in (square, count)
    )
    return power.reshape(o, shells), size.reshape(o, shells)


def updated_noise(
    noise: Float[Array, "o shells"],
    power: Float[Array, "o shells"],
    count: Float[Array, "o shells"],
) -> Float[Array, "o shells"]:
    """Follow the residuals slowly; groups and shells that were not seen keep theirs."""
    ratio = jnp.where(count > 0, power / jnp.maximum(count, 1.0), 1.0)
    return noise * (1 + (1 - _MEMORY) * (jnp.clip(ratio, *_RANGE) - 1))

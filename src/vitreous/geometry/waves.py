"""Sines and waves of a phase counted in turns, fast on a CPU.

XLA's own sine costs ten times as much as the polynomial here, and phases of images and CTFs are
large numbers of turns anyway: their whole part is dropped exactly.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

# sin 2πt = t Σ cᵢ t²ⁱ on |t| ≤ ¼: fitted for the least relative error, 5e-9 before rounding.
_COEFFICIENTS = (6.2831854820, -41.3416786194, 81.6022338867, -76.5749893188, 39.7109184265)


def _sine_of_quarter(t: Float[Array, "..."]) -> Float[Array, "..."]:
    square = t * t
    total = jnp.full_like(square, _COEFFICIENTS[-1])
    for coefficient in _COEFFICIENTS[-2::-1]:
        total = total * square + coefficient
    return total * t


def sine_of_turns(turns: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return `sin 2πt`, to 2e-7 in single precision and exactly so in double."""
    if turns.dtype != jnp.float32:
        return jnp.sin(2 * np.pi * turns)
    t = turns - jnp.round(turns)
    folded = jnp.where(jnp.abs(t) > 0.25, jnp.copysign(0.5, t) - t, t)
    return _sine_of_quarter(folded)


def wave_of_turns(turns: Float[Array, "..."]) -> Complex[Array, "..."]:
    """Return `exp 2πit`, to 2e-7 in single precision and exactly so in double."""
    if turns.dtype != jnp.float32:
        return jax.lax.complex(jnp.cos(2 * np.pi * turns), jnp.sin(2 * np.pi * turns))
    t = turns - jnp.round(turns)
    folded = jnp.where(jnp.abs(t) > 0.25, jnp.copysign(0.5, t) - t, t)
    return jax.lax.complex(_sine_of_quarter(0.25 - jnp.abs(t)), _sine_of_quarter(folded))

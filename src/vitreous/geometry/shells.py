"""Fourier shells: rounded radii in cycles/box, and means over them."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vitreous.geometry.fourier import frequencies


def shell_index(box: int, dimensions: int, half: bool = False) -> np.ndarray:
    """Give the shell, `rint(|k|)` in cycles/box, of every grid point, int32."""
    k = frequencies(box, dimensions, half)
    return np.rint(np.sqrt(np.sum(k.astype(np.float64) ** 2, axis=-1))).astype(np.int32)


def shell_sum(
    values: Float[Array, "... p"], shell: Int[Array, " p"], count: int
) -> Float[Array, "... count"]:
    """Add up values shell by shell; points whose shell is `count` or more are dropped."""
    flat = values.reshape(-1, values.shape[-1])
    total = jax.vmap(lambda v: jnp.zeros(count, v.dtype).at[shell].add(v, mode="drop"))(flat)
    return total.reshape(*values.shape[:-1], count)

"""The soft edge that masks and filters share: half a cosine."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vitreous.geometry.rotations import AnyArray


def falling_edge(
    distance: Float[AnyArray, "..."], width: float | Float[Array, ""]
) -> Float[AnyArray, "..."]:
    """Fall from 1 at distance 0 to 0 at `width` along half a cosine; a step for no width."""
    xp = np if isinstance(distance, np.ndarray | np.generic) else jnp
    soft = width > 0
    # A division by a width of 0 would put NaN into the gradient even where it is not used.
    ramp = xp.clip(distance / xp.where(soft, width, 1.0).astype(distance.dtype), 0, 1)
    step = (distance <= 0).astype(distance.dtype)
    return xp.where(soft, 0.5 + 0.5 * xp.cos(np.pi * ramp), step)

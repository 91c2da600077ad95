"""Local resolution: how far two half maps agree around every voxel.

Both maps are filtered to one shell at a time and correlated in a soft window around each voxel;
the resolution there is where the correlation first falls below a threshold.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vitreous.geometry.fourier import frequencies, half_space, volume_from_half_space

# Width of the window in units of the wavelength looked at: wide enough to hold a few waves.
_WINDOW = 1.5
# Shells looked at together: single ones ring.
_SHELL_WIDTH = 1.0


@partial(jax.jit, static_argnames=("threshold", "step"))
def local_resolution(
    first: Float[Array, "n n n"],
    second: Float[Array, "n n n"],
    voxel_size: float | Array,
    threshold: float = 0.5,
    step: int = 2,
) -> Float[Array, "n n n"]:
    """Find the resolution of two half maps around every voxel.

    **Arguments:** `threshold`: of the local correlation. `step`: shells from one look to the next.

    **Returns:** Å; `n · voxel_size / 2` shells coarse at most, two voxels at best.

    **Source:** Cardone, Heymann & Steven (2013), "One number does not fit all", with a Gaussian
    window that shrinks with the wavelength.
    """
    box = first.shape[0]
    k = np.linalg.norm(frequencies(box, 3, half=True), axis=-1)
    radius = jnp.asarray(k.astype(np.float32))
    a, b = half_space(first), half_space(second)
    shells = np.arange(2, box // 2, step).astype(np.float32)

    def smooth(volume, width):
        blur = jnp.exp(-2 * (jnp.pi * width / box) ** 2 * radius**2)
        return volume_from_half_space(half_space(volume) * blur.astype(a.dtype), box)

    def look(carried, shell):
        limit, still = carried
        keep = jnp.exp(-0.5 * ((radius - shell) / _SHELL_WIDTH) ** 2).astype(a.dtype)
        x, y = volume_from_half_space(a * keep, box), volume_from_half_space(b * keep, box)
        width = _WINDOW * box / shell
        power = jnp.maximum(smooth(x * x, width) * smooth(y * y, width), 1e-30)
        still = still & (smooth(x * y, width) / jnp.sqrt(power) >= threshold)
        return (jnp.where(still, shell, limit), still), None

    start = (jnp.ones(first.shape, first.dtype), jnp.ones(first.shape, bool))
    (limit, _), _ = jax.lax.scan(look, start, jnp.asarray(shells))
    return jnp.asarray(voxel_size, first.dtype) * box / limit

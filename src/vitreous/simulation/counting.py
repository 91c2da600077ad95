"""Electrons counted in place of noise of a given ratio: what a dose does to an image.

A thin specimen takes the share `2λγ ∫U dz ∗ CTF` of the electrons from a pixel (weak phases), so an
image in the values of the map, `Σ_z U`, turns into counts and back by one factor.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vitreous.geometry.rotations import AnyArray
from vitreous.imaging.ctf import interaction_factor

Counting = Literal["poisson", "gaussian"]


def contrast_of_sum(voltage: Float[AnyArray, "..."], pixel_size: float) -> Float[AnyArray, "..."]:
    """Return the contrast that one unit of `Σ_z U` gives, `2λγ · pixel size` (Å²).

    **Arguments:** `voltage` in kV. `pixel_size`: Å, the length of one term of the sum.
    """
    return 2 * pixel_size * interaction_factor(voltage)


def counting_deviation(
    voltage: Float[AnyArray, "..."], pixel_size: float, dose: float
) -> Float[AnyArray, "..."]:
    """Return the standard deviation of counted electrons, in units of `Σ_z U`.

    **Arguments:** `dose`: electrons/Å². With `N` a pixel the contrast has the deviation `1/√N`.
    """
    return 1 / (contrast_of_sum(voltage, pixel_size) * np.sqrt(dose) * pixel_size)


def count_electrons(
    key: jax.Array,
    number: Int[Array, " b"],
    images: Float[Array, "b h w"],
    scale: Float[Array, " b"],
    electrons: Float[Array, ""],
    counting: Counting = "poisson",
) -> Float[Array, "b h w"]:
    """Draw counts and give them back as images: their mean is the clean image.

    **Arguments:** `number`: of each particle, which fixes its random stream. `images`: white
    particles, `Σ_z U ∗ CTF`. `scale`: of `contrast_of_sum`. `electrons`: a pixel without specimen.
    """
    scale = scale[:, None, None]
    rate = electrons * jnp.maximum(1 - scale * images, 0)

    def draw(one: Int[Array, ""], mean: Float[Array, "h w"]) -> Float[Array, "h w"]:
        stream = jax.random.fold_in(key, one)
        if counting == "poisson":
            return jax.random.poisson(stream, mean).astype(mean.dtype)
        return mean + jnp.sqrt(mean) * jax.random.normal(stream, mean.shape, mean.dtype)

    return (1 - jax.vmap(draw)(number, rate) / electrons) / scale

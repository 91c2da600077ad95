"""Images as likelihoods see them: pixels weighed by CTF and noise, once, for any pose.

With noise of power σ² a predicted, CTF-free image `F` that stands `t` off the centre has the log
likelihood ratio `Σ Re(F* e^{2πi k·t} d) − ½ Σ p |F|²` against an empty image, where
`d = m c y / σ²` and `p = m c² / σ²`. `d` and `p` are also what an image adds to a map's numerator
and weight.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.geometry.shells import shell_sum
from vitreous.particles.prepare import Batch
from vitreous.reconstruction.foundation import transfer_of


class Weighed(NamedTuple):
    """Hold a batch: `data` and `power` as above, for the leading pixels of a list; `square`, the
    weighed power `Σ m |y|² / σ²` pixel by pixel."""

    data: Complex[Array, "b p"]
    power: Float[Array, "b p"]
    square: Float[Array, "b p"]


def weigh(
    batch: Batch, pixels: FourierPixels, noise: Float[Array, " shells"], count: int
) -> Weighed:
    """Weigh the first `count` pixels of a batch.

    **Arguments:** `noise`: power of prepared pixels by shell. Rows that only fill the batch up
    come out as 0.
    """
    transfer = transfer_of(batch, pixels)[:, :count]
    weight = jnp.asarray(pixels.weight[:count]) / noise[jnp.asarray(pixels.shell[:count])]
    weight = weight[None] * batch.weight[:, None]
    seen = batch.pixels[:, :count]
    return Weighed(
        seen * (weight * transfer).astype(seen.dtype),
        weight * transfer * transfer,
        weight * (seen.real**2 + seen.imag**2),
    )


def shift_phases(
    shift: Float[Array, "*b 2"], pixels: FourierPixels, count: int
) -> Complex[Array, "*b p"]:
    """Return `exp(2πi k·t)`, which brings data back from where the particle lies.

    **Arguments:** `shift`: in pixels.
    """
    k = np.asarray(pixels.frequency[:count], np.float32) / np.float32(pixels.box)
    turns = 2 * np.pi * jnp.einsum("...d,pd->...p", shift, jnp.asarray(k), precision="highest")
    return jax.lax.complex(jnp.cos(turns), jnp.sin(turns))


def image_power(batch: Batch, pixels: FourierPixels) -> Float[Array, " shells"]:
    """Average the power of a batch's pixels over each shell: noise and signal together."""
    shells = pixels.max_shell + 1
    weight = pixels.weight / np.maximum(
        np.bincount(pixels.shell, pixels.weight, shells)[pixels.shell], 1
    )
    square = batch.pixels.real**2 + batch.pixels.imag**2
    mean = jnp.sum(square * batch.weight[:, None], axis=0) / jnp.maximum(jnp.sum(batch.weight), 1)
    return shell_sum((mean * weight.astype(np.float32))[None], jnp.asarray(pixels.shell), shells)[0]

"""What is measured before the first step: consensus map, noise spectrum, particle radius.

All of it comes from one or two passes over (at most `MAX_IMAGES`) prepared images, and is stored
with the run.
"""

import logging
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from vitreous.geometry.fourier import half_space
from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.geometry.shells import shell_sum
from vitreous.geometry.shift import phase_shift
from vitreous.imaging.ctf import evaluate_ctf
from vitreous.imaging.fourier_grid import FourierGrid, volume_to_grid
from vitreous.imaging.slicing import slice_grid
from vitreous.particles.loader import PreparedImages
from vitreous.particles.prepare import Batch

logger = logging.getLogger(__name__)


class Foundation(NamedTuple):
    """Hold what a latent model stands on, in units of the prepared pixels.

    **Fields:** `consensus`: map `(z, y, x)`, already masked, or None. `fsc`: of its half maps.
    `noise`: power per shell. `amplitude`: root mean square signal per shell. `radius`: of the
    particle in pixels.
    """

    consensus: Float[np.ndarray, "n n n"] | None
    fsc: Float[np.ndarray, " shells"] | None
    noise: Float[np.ndarray, " shells"]
    amplitude: Float[np.ndarray, " shells"]
    radius: float


def centred_pixels(
    batch: Batch, pixels: FourierPixels, shift: Float[Array, "b 2"]
) -> Complex[Array, "b p"]:
    """Move each particle to the centre of its image."""
    return batch.pixels * phase_shift(pixel_frequencies(batch, pixels), -shift)


def pixel_frequencies(batch: Batch, pixels: FourierPixels) -> Float[Array, "b p 2"]:
    """Return the frequency of every pixel in cycles/Å; images may differ in pixel size."""
    length = pixels.box * batch.pixel_size
    return jnp.asarray(pixels.frequency)[None] / length[:, None, None]


def transfer_of(batch: Batch, pixels: FourierPixels) -> Float[Array, "b p"]:
    """Evaluate the CTF of each image; 1 where the images carry none."""
    if batch.ctf is None:
        return jnp.ones((batch.pixels.shape[0], len(pixels)))
    return evaluate_ctf(pixel_frequencies(batch, pixels), batch.ctf)

"""Make the noise of a micrograph white: every Fourier mode of the same expected power."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy.fft
from jaxtyping import Float

from vitreous.geometry.rectangle import rectangle_frequencies
from vitreous.imaging.filters import estimate_power


class RingPower(NamedTuple):
    """Hold the power `|F|²/N` of the noise at some frequencies (cycles/pixel), ascending."""

    frequency: Float[np.ndarray, " rings"]
    power: Float[np.ndarray, " rings"]


def ring_power(image: Float[np.ndarray, "h w"]) -> RingPower:
    """Measure the power of an image, see `estimate_power`; white noise of variance σ² has σ²."""
    centred = image.astype(np.float64) - image.mean(dtype=np.float64)
    measured = estimate_power(jnp.asarray(centred, jnp.float32), 1.0)
    return RingPower(np.asarray(measured.radius), np.asarray(measured.value))


def whitening_filter(
    noise: RingPower,
    shape: tuple[int, int],
    finest: float | None = None,
    coarsest: float | None = None,
) -> Float[np.ndarray, "h c"]:
    """Return the factor that whitens images: `1/√P`, 0 at frequency 0 and outside a band.

    **Arguments:** `noise`: the power, measured on an image of any size. `shape`: `(height, width)`
    of the images to filter. `finest`, `coarsest`: periods in pixels that bound the band.
    """
    k = rectangle_frequencies(shape).astype(np.float64)
    radius = np.hypot(k[..., 0], k[..., 1])
    has_power = noise.power > 0
    if not has_power.any():
        raise ValueError("an image without any contrast has no noise to whiten")
    measured = np.interp(radius, noise.frequency[has_power], noise.power[has_power])
    factor = 1 / np.sqrt(measured)
    factor[0, 0] = 0
    if finest is not None:
        factor[radius > 1 / finest] = 0
    if coarsest is not None:
        factor[radius < 1 / coarsest] = 0
    return factor.astype(np.float32)


def apply_filter(
    image: Float[np.ndarray, "h w"], factor: Float[np.ndarray, "h c"]
) -> Float[np.ndarray, "h w"]:
    """Multiply an image's half plane by a factor; float32."""
    transform = scipy.fft.rfft2(image.astype(np.float64)) * factor
    return scipy.fft.irfft2(transform, s=image.shape).astype(np.float32)


def expected_snr(
    image: Float[np.ndarray, "h w"],
    signal: Float[np.ndarray, "h w"],
    finest: float | None = None,
    coarsest: float | None = None,
) -> float:
    """Return the correlation to expect where a known signal lies in a micrograph.

    **Arguments:** `image`: the micrograph, which tells the power of the noise. `signal`: what the
    particle alone adds to an image of this size. `finest`, `coarsest`: periods in pixels.

    **Returns:** `√(Σ |S(k)|² / (N P(k)))`, the norm of the whitened signal. Noise adds a standard
    normal value to it.
    """
    factor = whitening_filter(ring_power(image), image.shape, finest, coarsest)
    return float(np.linalg.norm(apply_filter(signal, factor)))

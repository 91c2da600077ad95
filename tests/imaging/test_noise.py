"""Noise has the variance and spectrum it claims and no symmetry; SNR means what its name says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vitreous.imaging.noise import colour_noise, noise_deviation, power_spectrum, white_noise

COUNT = 3000


@pytest.mark.parametrize("box", [11, 12])
@pytest.mark.parametrize("coloured", [False, True])
def test_pixels_are_independent_of_their_mirror_images(box: int, coloured: bool) -> None:
    """x and −x correlate as any two pixels 2x apart do: 0 for white noise (the peers': 1).

    The error of a correlation is 1/√count; 4.5 of these allowed.
    """
    noise = white_noise(jax.random.key(0), jnp.arange(COUNT), box)
    k = np.fft.fftfreq(box, 1 / box)
    spectrum = np.ones((box, box))
    if coloured:
        power = np.array([1.0, 1.5, 2.0, 1.0, 0.5], np.float32)
        noise = colour_noise(noise, jnp.asarray(power))
        spectrum = np.interp(np.hypot(k[:, None], k[None]), np.arange(5), power)
    covariance = np.fft.ifft2(spectrum).real
    x = np.arange(box) - box // 2
    mirror = (-x + box // 2) % box
    values = np.asarray(noise, np.float64) / np.sqrt(covariance[0, 0])
    correlation = np.mean(values * values[:, mirror][:, :, mirror], axis=0)
    apart = (x - x[mirror]) % box
    expected = covariance[np.ix_(apart, apart)] / covariance[0, 0]
    # Where a pixel is its own mirror image the variance itself is tested, with error √(2/count).
    own = (mirror == np.arange(box))[:, None] & (mirror == np.arange(box))[None]
    assert np.abs((correlation - expected)[~own]).max() < 4.5 / np.sqrt(COUNT)
    assert np.abs((correlation - expected)[own]).max() < 4.5 * np.sqrt(2 / COUNT)
    if not coloured:
        assert np.abs(correlation[~own]).max() < 4.5 / np.sqrt(COUNT)


@pytest.mark.parametrize("box", [11, 12])
def test_white_noise_is_flat(box: int) -> None:
    """Every pixel has variance 1 and every Fourier mode power 1, self-conjugate ones included."""
    noise = white_noise(jax.random.key(1), jnp.arange(COUNT), box)
    error = 5 * np.sqrt(2 / COUNT)
    np.testing.assert_allclose(np.asarray(noise).var(axis=0), 1, atol=error)
    power = np.mean(np.abs(np.fft.rfft2(noise)) ** 2, axis=0) / box**2
    np.testing.assert_allclose(power, 1, atol=error)
    np.testing.assert_allclose(power_spectrum(noise).mean(axis=0), 1, atol=error)


def test_coloured_noise_has_its_spectrum() -> None:
    """Shell means of P, interpolated at each mode's radius, within 5σ of the χ² error."""
    box = 16
    power = np.array([0.5, 1.0, 3.0, 2.0, 1.0, 0.7, 0.6, 0.5, 0.4], np.float32)
    noise = colour_noise(white_noise(jax.random.key(2), jnp.arange(COUNT), box), jnp.asarray(power))
    k = np.fft.fftfreq(box, 1 / box)
    radius = np.hypot(k[:, None], np.arange(box // 2 + 1)[None])
    modes = np.mean(np.abs(np.fft.rfft2(noise)) ** 2, axis=0) / box**2
    expected = np.interp(radius, np.arange(9), power)
    np.testing.assert_allclose(modes, expected, rtol=6 * np.sqrt(2 / COUNT))
    measured = power_spectrum(noise).mean(axis=0)
    # A shell averages P over its width, which differs from P at its radius by the curvature.
    np.testing.assert_allclose(measured[4:8], power[4:8], rtol=0.06)


def test_noise_belongs_to_the_image_not_the_batch() -> None:
    key = jax.random.key(3)
    whole = white_noise(key, jnp.arange(6), 8)
    np.testing.assert_array_equal(white_noise(key, jnp.array([4, 2]), 8), whole[jnp.array([4, 2])])


def test_signal_to_noise_by_name() -> None:
    """A disc of ±1 pixels: variance 1 inside it, and diluted over the box."""
    box, radius = 32, 8.0
    x = np.arange(box) - box // 2
    inside = np.hypot(x[:, None], x[None]) <= radius
    signal = np.where(inside, np.sign(np.random.default_rng(4).normal(size=(50, box, box))), 0)
    signal = signal.astype(np.float32)
    in_mask = noise_deviation(signal, 0.25, "mask", radius)
    whole = noise_deviation(signal, 0.25, "box")
    assert in_mask == pytest.approx(2, rel=1e-3)
    assert whole == pytest.approx(2 * np.sqrt(inside.mean()), rel=1e-2)
    with pytest.raises(ValueError, match="positive"):
        noise_deviation(signal, 0.0)

"""Electrons are counted right, blurred and noisy as told; ice has the variance it claims."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vitreous.imaging.detector import Detector
from vitreous.imaging.exposure import Exposure
from vitreous.imaging.filters import GaussianFilter
from vitreous.imaging.grid import ImageGrid
from vitreous.imaging.ice import GaussianIce, parkhurst_spectrum
from vitreous.imaging.noise import GaussianNoise, power_spectrum

GRID = ImageGrid(16, 2.0)


def test_a_uniform_beam():
    np.testing.assert_allclose(Exposure(25.0).electrons(GRID), 100)
    np.testing.assert_allclose(Exposure(np.array([1.0, 2.0])).electrons(GRID), [4, 8])


@pytest.mark.parametrize("statistics", ["poisson", "gaussian"])
def test_vacuum_counts(statistics: str):
    """Mean and variance of a perfect camera are the dose on a pixel; 4σ of the sample allowed."""
    arriving = jnp.full((40, 16, 16), 9.0)
    detector = Detector(statistics)
    np.testing.assert_array_equal(detector.rate(arriving, GRID), 9)
    counts = np.asarray(detector.sample(jax.random.key(0), arriving, GRID))
    assert counts.mean() == pytest.approx(9, abs=4 * 3 / np.sqrt(counts.size))
    assert counts.var() == pytest.approx(9, rel=4 * np.sqrt(2.2 / counts.size))
    assert np.all(counts == np.round(counts)) == (statistics == "poisson")


def test_rates_are_never_negative():
    arriving = jnp.linspace(-5, 5, 256).reshape(1, 16, 16)
    sharp = Detector("poisson", mtf=GaussianFilter(-20.0))
    assert float(sharp.rate(arriving, GRID).min()) == 0
    assert np.all(np.isfinite(sharp.sample(jax.random.key(0), arriving, GRID)))


@pytest.mark.parametrize("statistics", ["poisson", "gaussian"])
def test_mtf_and_dqe_mean_what_they_say(statistics: str):
    """Signal DQE(0)·MTF; noise power of vacuum, N·NPS, so that MTF² DQE(0)² N / NPS is DQE."""
    mtf, dqe = GaussianFilter(40.0), 0.7 * GaussianFilter(60.0)
    detector = Detector(statistics, mtf, dqe)
    k = 3
    wave = np.cos(2 * np.pi * k * np.arange(16) / 16)[None, :].repeat(16, 0)
    arriving = jnp.asarray(50 + 5 * wave[None], jnp.float32)
    read = np.asarray(detector.read_out(detector.rate(arriving, GRID), GRID))[0]
    f = jnp.array([[k / 32, 0.0]])
    assert 2 * np.mean(read * wave) == pytest.approx(5 * 0.7 * float(mtf(f)[0]), rel=1e-3)
    assert read.mean() == pytest.approx(35, rel=1e-4)
    vacuum = detector.sample(jax.random.key(1), jnp.full((400, 16, 16), 50.0), GRID)
    noise = np.asarray(power_spectrum(vacuum - jnp.mean(vacuum))).mean(axis=0)[k]
    found = (0.7 * float(mtf(f)[0])) ** 2 * 50 / noise
    assert found == pytest.approx(float(dqe(f)[0]), rel=0.05)


def test_poisson_approaches_gauss():
    """At 10⁴ electrons a pixel the two log-likelihoods differ by O(1/√N) a pixel."""
    arriving = 1e4 + 100 * jax.random.normal(jax.random.key(2), (2, 16, 16))
    counts = Detector("poisson").sample(jax.random.key(3), arriving, GRID)
    poisson, gauss = (
        Detector(s).log_likelihood(counts, arriving, GRID) for s in ("poisson", "gaussian")
    )
    np.testing.assert_allclose(poisson / 256, gauss / 256, atol=0.01)


def test_poisson_likelihood_is_a_probability():
    """Over all counts of one pixel it sums to 1."""
    one = ImageGrid(1, 1.0)
    arriving = jnp.full((60, 1, 1), 7.3)
    counts = jnp.arange(60, dtype=jnp.float32).reshape(60, 1, 1)
    value = Detector("poisson").log_likelihood(counts, arriving, one)
    assert float(jnp.sum(jnp.exp(value))) == pytest.approx(1, abs=1e-5)
    with pytest.raises(ValueError, match="independent pixels"):
        Detector("poisson", dqe=GaussianFilter(5.0)).log_likelihood(counts, arriving, one)


def test_parkhurst_is_a_sum_of_two_rings():
    k = np.linspace(0, 0.6, 50, dtype=np.float32)
    points = jnp.stack([jnp.asarray(k), jnp.zeros(50)], axis=-1)
    expected = 0.199 * np.exp(-(k**2) / (2 * 0.731**2))
    expected = expected + 0.801 * np.exp(-((k - 1 / 2.88) ** 2) / (2 * 0.081**2))
    np.testing.assert_allclose(parkhurst_spectrum(strength=1.0)(points), expected, rtol=1e-4)
    # (0.03125 Å)² · 0.0314 Å⁻³ · (3.04 Å)²
    assert float(parkhurst_spectrum()(jnp.array([[0.0, 0.0]]))[0]) == pytest.approx(
        2.84e-4 * (0.199 + 0.801 * np.exp(-((1 / 2.88) ** 2) / (2 * 0.081**2))), rel=0.01
    )


@pytest.mark.parametrize("pixel_size", [1.0, 2.0])
def test_ice_varies_as_its_spectrum_whatever_the_pixels(pixel_size: float):
    """The variance of the phase is thickness · ∫ S d²k: of a Gaussian, 4π/B · strength."""
    grid = ImageGrid(32, pixel_size)
    ice = GaussianIce(300.0, 2e-4 * GaussianFilter(400.0))
    half = ice.sample(jax.random.key(4), 300, grid)
    field = np.fft.irfft2(np.asarray(half), s=(32, 32))
    expected = 300 * 2e-4 * 4 * np.pi / 400
    # √(2 / independent patches): a patch is as wide as the correlation, √(B/4π) Å.
    patches = 300 * (32 * pixel_size) ** 2 * 4 * np.pi / 400
    assert field.var() == pytest.approx(expected, rel=5 * np.sqrt(2 / patches))


def test_ice_is_real_and_not_mirrored():
    """Column 0 is its own Friedel mate, and x and −x are as independent as other pixels."""
    half = np.asarray(GaussianIce(100.0, 1.0).sample(jax.random.key(5), 2000, GRID))
    mates = half[:, (-np.arange(16)) % 16, 0].conj()
    np.testing.assert_allclose(half[:, :, 0], mates, atol=1e-3)
    field = np.fft.irfft2(half, s=(16, 16))
    field = field / field.std()
    mirror = (-np.arange(16)) % 16
    correlation = np.mean(field * field[:, mirror][:, :, mirror], axis=0)
    own = (mirror == np.arange(16))[:, None] & (mirror == np.arange(16))[None]
    assert np.abs(correlation[~own]).max() < 4.5 / np.sqrt(2000)


def test_negative_amounts_are_refused():
    for make in (lambda: Exposure(-1.0), lambda: GaussianIce(-300.0), lambda: GaussianNoise(0.0)):
        with pytest.raises(ValueError, match=r"not negative|is positive"):
            make()
    assert jax.jit(lambda d: Exposure(d).electrons(GRID))(jnp.array(2.0)) == 8


def test_thick_ice_one_an_image():
    power = GaussianIce(np.array([100.0, 300.0]), 1.0).power(GRID)
    assert power.shape == (2, 16, 9)
    np.testing.assert_allclose(power[1], 3 * power[0])

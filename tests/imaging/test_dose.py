import jax.numpy as jnp
import numpy as np
import pytest

from vitreous.imaging.dose import OPTIMAL_EXPOSURE, critical_exposure, dose_filter


def test_critical_exposures_are_those_of_the_paper():
    # Grant & Grigorieff (2015), 300 kV: 0.24499 · s^−1.6649 + 2.8141.
    s = np.array([0.05, 0.1, 0.2, 0.4])
    paper = 0.24499 * s**-1.6649 + 2.8141
    mine = critical_exposure(jnp.asarray(s, jnp.float32), jnp.float32(300))
    np.testing.assert_allclose(mine, paper, rtol=3e-3)
    power = critical_exposure(jnp.asarray(s, jnp.float32), jnp.float32(200)) - 2.81
    np.testing.assert_allclose(power, 0.75 * (np.asarray(mine) - 2.81), rtol=1e-5)


def test_the_optimal_exposure_is_where_the_signal_to_noise_ratio_stops_growing():
    # SNR of N exposed electrons: signal ∫ exp(−n/2) dn over noise √N, in critical exposures.
    n = np.linspace(0.5, 6, 20001)
    ratio = (1 - np.exp(-n / 2)) ** 2 / n
    assert n[np.argmax(ratio)] == pytest.approx(OPTIMAL_EXPOSURE, abs=1e-3)


def test_images_fade_with_dose_and_are_cut_beyond_the_optimum():
    frequency = jnp.array([[[0.0, 0.1], [0.2, 0.0], [0.0, 0.0]]])
    voltage = jnp.array([300.0])
    nc = np.asarray(critical_exposure(jnp.array([0.1, 0.2]), jnp.float32(300)))
    fresh = dose_filter(frequency, jnp.array([0.0]), voltage)
    np.testing.assert_allclose(fresh, 1)
    faded = np.asarray(dose_filter(frequency, jnp.array([20.0]), voltage))[0]
    assert faded[0] == pytest.approx(np.exp(-10 / nc[0]), rel=1e-5)
    assert faded[1] == 0
    assert faded[2] == pytest.approx(1, abs=1e-4)

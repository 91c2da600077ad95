"""Likelihoods of both spaces agree; profile and marginal ones against search and quadrature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vitreous.geometry.fourier import half_plane
from vitreous.imaging.filters import GaussianFilter
from vitreous.imaging.grid import ImageGrid
from vitreous.imaging.likelihood import (
    fourier_log_likelihood,
    marginal_likelihood,
    products,
    profile_likelihood,
    real_log_likelihood,
)
from vitreous.imaging.noise import GaussianNoise


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("box", [15, 16])
def test_both_spaces_agree_for_white_noise(box: int):
    residual = jax.random.normal(jax.random.key(0), (3, box, box)) + 0.3
    real = real_log_likelihood(residual, jnp.array(1.7))
    power = jnp.full((box, box // 2 + 1), 1.7)
    np.testing.assert_allclose(
        fourier_log_likelihood(half_plane(residual), power), real, rtol=1e-10, atol=0
    )
    noise = GaussianNoise(1.7)
    np.testing.assert_allclose(
        noise.log_likelihood(residual, ImageGrid(box, 2.0)), real, rtol=1e-10
    )


@pytest.mark.parametrize("box", [5, 6])
def test_coloured_likelihood_is_the_density_of_the_covariance(box: int):
    """−½ (rᵀ Σ⁻¹ r + ln det 2πΣ) with the circulant Σ written out."""
    grid = ImageGrid(box, 2.0)
    noise = GaussianNoise(0.5 + GaussianFilter(60.0))
    k = np.fft.fftfreq(box, 2.0)
    plane = jnp.asarray(np.stack(np.meshgrid(k, k), axis=-1))
    covariance = np.fft.ifft2(np.asarray(noise.power(plane))).real
    y, x = (i.ravel() for i in np.indices((box, box)))
    matrix = covariance[(y[:, None] - y) % box, (x[:, None] - x) % box]
    residual = np.random.default_rng(1).normal(size=(box, box))
    r = residual.ravel()
    expected = -0.5 * (r @ np.linalg.solve(matrix, r) + np.linalg.slogdet(2 * np.pi * matrix)[1])
    value = noise.log_likelihood(jnp.asarray(residual), grid)
    np.testing.assert_allclose(value, expected, rtol=1e-10)


@pytest.fixture
def case(double):
    """An image, its model, coloured noise, and the log-likelihood on a fine grid of (s, o)."""
    box = 12
    grid, noise = ImageGrid(box, 2.0), GaussianNoise(4.0 + 20 * GaussianFilter(60.0))
    x = np.arange(box) - box // 2
    model = jnp.asarray(np.exp(-(x[:, None] ** 2 + (x[None] - 1) ** 2) / 6.0) + 0.1)
    observed = 3 * model + 0.5 + noise.sample(jax.random.key(3), 1, grid)[0]
    power = noise.power_on(grid)
    found = products(half_plane(observed), half_plane(model), power)
    scales, offsets = jnp.linspace(-12, 18, 601), jnp.linspace(-6, 7, 521)

    def density(s, o):
        return fourier_log_likelihood(half_plane(observed - s * model - o), power)

    table = jax.lax.map(lambda s: jax.vmap(lambda o: density(s, o))(offsets), scales)
    return found, scales, offsets, table, density


def test_profile_is_the_maximum(case):
    """At the profile's scale and offset the density is as it says, stationary, and not exceeded."""
    found, _, _, table, density = case
    best = profile_likelihood(found)
    np.testing.assert_allclose(density(best.scale, best.offset), best.log_likelihood, rtol=1e-12)
    slope = jax.grad(density, argnums=(0, 1))(best.scale, best.offset)
    np.testing.assert_allclose(slope, 0, atol=1e-9)
    assert 0 <= float(best.log_likelihood - jnp.max(table)) < 1e-2


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("priors", [(None, None), ((2.0, 1.5), (0.2, 0.7))])
def test_marginal_is_the_integral(case, priors, positive):
    """The trapezoidal rule over ±10σ of a Gaussian is exact; over half of one, to h²."""
    found, scales, offsets, table, _ = case
    density = np.array(table)
    for prior, axis in zip(priors, (scales, offsets), strict=True):
        if prior is not None:
            mean, deviation = prior
            term = -0.5 * ((axis - mean) / deviation) ** 2 - np.log(deviation * np.sqrt(2 * np.pi))
            density = density + np.asarray(term[:, None] if axis is scales else term[None])
    if positive:
        density = density[np.asarray(scales) >= -1e-9]
        density[0] -= np.log(2)  # the end point of the rule
    step = (scales[1] - scales[0]) * (offsets[1] - offsets[0])
    expected = jax.scipy.special.logsumexp(jnp.asarray(density)) + jnp.log(step)
    value = marginal_likelihood(found, *priors, positive_scale=positive)
    assert float(value) == pytest.approx(float(expected), abs=1e-4)


def test_a_flat_model_has_no_scale():
    found = products(
        half_plane(jnp.ones((4, 4)) * 3), half_plane(jnp.ones((4, 4))), jnp.ones((4, 3))
    )
    best = profile_likelihood(found)
    assert float(best.scale) == 0
    assert float(best.offset) == pytest.approx(3)

"""Loss, sampling, row-wise Adam and pose corrections against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.stats import norm

from vitreous.errors import InputError
from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.geometry.rotations import geodesic_distance, random_rotations
from vitreous.methods.latent.config import LatentConfig, config_from_dict, peer_settings
from vitreous.methods.latent.loss import (
    bound,
    squared_error,
)
from vitreous.methods.latent.pixel_sampling import PixelSampler
from vitreous.reconstruction.pose_correction import corrected_pose
from vitreous.training.networks.divergence import bounded_log_variance, kl_divergence
from vitreous.training.row_adam import RowTable
from vitreous.training.schedules import beta_at

KEY = jax.random.key(5)


def test_one_odd_image_cannot_outweigh_a_batch():
    raw = jnp.array([[-5.0, 0.0, 30.0, 1e4]])
    bounded = bounded_log_variance(raw)
    np.testing.assert_allclose(bounded[0, :2], raw[0, :2], atol=0.02)
    assert float(bounded.max()) <= 4
    assert float(kl_divergence(jnp.zeros((1, 4)), bounded)[0]) < 60
    slope = jax.grad(lambda x: kl_divergence(jnp.zeros((1, 4)), bounded_log_variance(x))[0])(raw)
    assert np.isfinite(slope).all()
    assert float(slope[0, 1]) == pytest.approx(0.0, abs=0.02)


def test_kl_equals_its_integral():
    mean, log_variance = 0.7, -0.8
    sigma = np.exp(log_variance / 2)
    x = np.linspace(-12, 12, 200001)
    q = norm.pdf(x, mean, sigma)
    integral = np.trapezoid(q * (norm.logpdf(x, mean, sigma) - norm.logpdf(x)), x)
    got = kl_divergence(jnp.full((1, 1), mean), jnp.full((1, 1), log_variance))
    assert float(got[0]) == pytest.approx(integral, rel=1e-5)
    # Never negative: the sign that one peer has wrong.
    draws = jax.random.normal(KEY, (2, 50, 3))
    assert float(kl_divergence(draws[0], draws[1]).min()) >= 0


def test_beta_schedules_ramp_in_images():
    at = lambda s, n: float(beta_at(s, jnp.float32(n)))  # noqa: E731
    assert at(0.25, 1e7) == 0.25
    assert at("a", 0) == pytest.approx(0.001)
    assert at("a", 5e5) == pytest.approx((0.001 + 15) / 2)
    assert at("b", 1e5) == 5
    assert at("c", 8e5) == 18
    assert at("d", 3e6) == pytest.approx((5 + 18) / 2)


def test_pure_noise_scores_one():
    pixels = FourierPixels(32, 15)
    noise = jax.random.normal(KEY, (400, len(pixels), 2)) / np.sqrt(2).item()
    observed = jax.lax.complex(noise[..., 0], noise[..., 1])
    error = squared_error(
        observed, jnp.zeros_like(observed), jnp.asarray(pixels.weight), pixels.weight.sum().item()
    )
    # 400 images of ~380 pixels: standard error 1/√(400·380) ≈ 0.0026.
    assert float(error.mean()) == pytest.approx(1, abs=0.012)


def test_bound_ignores_padding_and_holds_a_kl():
    error, kl = jnp.array([1.0, 3.0, 99.0]), jnp.array([2.0, 4.0, 99.0])
    weight = jnp.array([1.0, 1.0, 0.0])
    counts = weight.sum(), weight.sum()
    loss, scalars = bound(error, kl, weight, *counts, 10.0, jnp.float32(0.5), None)
    assert float(scalars["reconstruction"]) == 2
    assert float(loss) == pytest.approx(2 + 0.5 * 3 / 10)
    held, _ = bound(error, kl, weight, *counts, 10.0, jnp.float32(5.0), 2.0)
    assert float(held) == pytest.approx(2 + 2 * (5 - 3) ** 2 / 10)


def test_a_particle_pays_its_kl_once_for_all_tilts():
    # Three tilts of two particles, one of them missing; the third particle is padding.
    error = jnp.array([1.0, 2.0, 3.0, 4.0, 5.0, 99.0, 99.0, 99.0, 99.0])
    weight = jnp.array([1.0, 1, 1, 1, 1, 0, 0, 0, 0])
    kl = jnp.array([2.0, 4.0, 99.0])
    loss, scalars = bound(
        error, kl, weight, jnp.float32(5), jnp.float32(2), 10.0, jnp.float32(0.5), None
    )
    # The bound of the set, per image: (Σ errors + β Σ KL / total) / images.
    assert float(loss) == pytest.approx((15 + 0.5 * 6 / 10) / 5)
    assert float(scalars["kl"]) == 3


@pytest.mark.parametrize("importance", [None, np.linspace(4, 0.2, 16).astype(np.float32)])
def test_sampled_sums_are_unbiased(importance):
    pixels = FourierPixels(32, 15)
    sampler = PixelSampler(pixels, 5, 60, importance)
    values = jax.random.uniform(KEY, (len(pixels),))

    def estimate(key):
        chosen, weight = sampler(key)
        return jnp.sum(values[chosen] * weight)

    estimates = np.asarray(jax.vmap(estimate)(jax.random.split(KEY, 3000)))
    error = estimates.std() / np.sqrt(len(estimates))
    assert abs(estimates.mean() - float(values.sum())) < 4 * error
    chosen, weight = sampler(KEY)
    low = pixels.count_up_to(5)
    np.testing.assert_array_equal(chosen[:low], np.arange(low))
    np.testing.assert_array_equal(weight[:low], 1)


def test_taking_all_pixels_takes_each_once():
    pixels = FourierPixels(17, 8)
    chosen, weight = PixelSampler(pixels, 3, None)(KEY)
    np.testing.assert_array_equal(chosen, np.arange(len(pixels)))
    np.testing.assert_array_equal(weight, 1)


def test_row_adam_is_adam_for_rows_seen_and_nothing_for_others():
    start = jax.random.normal(KEY, (6, 2))
    table = RowTable.start(start)
    adam = optax.adam(0.1)
    reference, state = start[1], adam.init(start[1])
    rows = jnp.array([1, 4, 0])
    real = jnp.array([1.0, 1.0, 0.0])
    for step in range(5):
        gradient = jax.random.normal(jax.random.key(step), (3, 2))
        table = table.update(rows, gradient, 0.1, real)
        with jax.numpy_dtype_promotion("standard"):
            update, state = adam.update(gradient[0], state)
        reference = reference + update
    np.testing.assert_allclose(table.values[1], reference, rtol=1e-4, atol=1e-5)
    untouched = np.array([0, 2, 3, 5])
    np.testing.assert_array_equal(table.values[untouched], start[untouched])
    np.testing.assert_array_equal(table.count, [0, 5, 0, 0, 5, 0])


def test_pose_correction_is_the_angle_and_shift_it_says():
    rotation = random_rotations(KEY, 3)
    shift = jnp.ones((3, 2))
    same = corrected_pose(rotation, shift, jnp.zeros((3, 5)))
    np.testing.assert_allclose(same.rotation, rotation, atol=1e-6)
    moved = corrected_pose(
        rotation, shift, jnp.tile(jnp.array([[0.0, 3.0, 0.0, 2.0, -1.0]]), (3, 1))
    )
    angle = geodesic_distance(moved.rotation, rotation)
    np.testing.assert_allclose(angle, 3, atol=1e-3)
    np.testing.assert_allclose(moved.shift, shift + jnp.array([[2.0, -1.0]]))


@pytest.mark.parametrize(
    "wrong",
    [
        {"zdim": 0},
        {"kind": "homogeneous", "zdim": 2},
        {"beta": "e"},
        {"beta_control": 1.0},
        {"batch_size": 0},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(InputError):
        LatentConfig(**wrong)


def test_settings_survive_a_run_folder():
    from dataclasses import asdict

    config = peer_settings(LatentConfig(zdim=3, beta="b"))
    assert config_from_dict(asdict(config)) == config
    assert not config.consensus
    with pytest.raises(InputError, match="unknown setting"):
        config_from_dict({"zdimension": 3})

"""Operators add up, and every shape is what its formula says; masks have their edge outside."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vitreous.imaging.filters import (
    ExponentialDecay,
    GaussianFilter,
    Lorentzian,
    LowPass,
    Sinc,
    estimate_power,
    high_pass,
    low_pass,
    whitening_filter,
)
from vitreous.imaging.grid import ImageGrid
from vitreous.imaging.masks import (
    CylinderMask,
    RectangleMask,
    RoundMask,
    SquareMask,
    inside,
    normalize,
)
from vitreous.imaging.noise import GaussianNoise
from vitreous.imaging.operators import Custom, Sampled, Tabulated, apply_filter
from vitreous.reconstruction.masks import spherical_mask

POINTS = jnp.asarray(np.random.default_rng(0).uniform(-0.3, 0.3, (50, 2)), jnp.float32)
RADIUS = np.linalg.norm(POINTS, axis=1)


def test_algebra():
    first, second = GaussianFilter(20.0), Lorentzian(3.0)
    a, b = np.asarray(first(POINTS)), np.asarray(second(POINTS))
    for operator, expected in [
        (first + second, a + b),
        (first - second, a - b),
        (first * second, a * b),
        (first / second, a / b),
        (2 * first + 1, 2 * a + 1),
        (1 - first * np.float32(0.5), 1 - 0.5 * a),
        (jnp.float32(3) / (second + 1), 3 / (b + 1)),
        (np.float32(2) * -first, -2 * a),
        (second**-0.5, b**-0.5),
    ]:
        np.testing.assert_allclose(operator(POINTS), expected, rtol=1e-5)


def test_operators_are_differentiable_and_leaves():
    def total(operator):
        return jnp.sum((operator * 2 + 1)(POINTS))

    gradient = jax.grad(total)(GaussianFilter(20.0))
    expected = np.sum(-0.5 * RADIUS**2 * np.exp(-5 * RADIUS**2))
    np.testing.assert_allclose(gradient.bfactor, expected, rtol=1e-4)
    at_origin = jax.grad(lambda p: GaussianFilter(20.0, 0.1)(p).sum())(jnp.zeros((1, 2)))
    np.testing.assert_array_equal(at_origin, 0)


def test_tabulated_sampled_and_custom_values():
    table = Tabulated(np.array([0.0, 0.1, 0.2]), np.array([1.0, 3.0, 2.0]))
    expected = np.interp(RADIUS, [0, 0.1, 0.2], [1, 3, 2])
    np.testing.assert_allclose(table(POINTS), expected, rtol=1e-5)
    sampled = Sampled(expected)
    np.testing.assert_allclose((sampled * 2)(POINTS), 2 * expected, rtol=1e-6)
    with pytest.raises(ValueError, match=r"\(50,\) points, asked for at \(3,\)"):
        sampled(POINTS[:3])
    np.testing.assert_array_equal(Custom(lambda p: p[..., 0])(POINTS), POINTS[:, 0])


def test_low_pass_is_one_below_its_cutoff_and_falls_beyond():
    values = np.asarray(LowPass(0.1, 0.05)(POINTS))
    assert np.all(values[RADIUS <= 0.1] == 1)
    assert np.all(values[RADIUS > 0.15] == 0)
    edge = (RADIUS > 0.1) & (RADIUS < 0.15)
    expected = 0.5 * (1 + np.cos(np.pi * (RADIUS[edge] - 0.1) / 0.05))
    np.testing.assert_allclose(values[edge], expected, atol=1e-5)
    grid = ImageGrid(16, 2.0)
    both = low_pass(grid, 0.5) + high_pass(grid, 0.5)
    np.testing.assert_allclose(both(grid.frequencies()), 1, atol=1e-6)
    assert float(low_pass(grid).cutoff) == pytest.approx(0.95 * 0.25)


@pytest.mark.parametrize("length", [2.0, 5.0])
def test_exponential_decay_is_the_transform_of_what_it_says(length: float):
    """Hankel transform of exp(−r/ξ)/2πξ² by quadrature; it is cut at 40 ξ and 2e-4 coarse."""
    from scipy.special import j0

    r = (np.arange(400000) + 0.5) * 1e-4 * length
    for k in (0.0, 0.05, 0.2):
        expected = np.sum(np.exp(-r / length) * j0(2 * np.pi * k * r) * r) * 1e-4 / length
        value = ExponentialDecay(length)(jnp.array([[k, 0.0]]))[0]
        assert float(value) == pytest.approx(expected, abs=1e-5)


def test_lorentzian_is_half_where_it_says():
    half = 1 / (2 * np.pi * 4.0)
    np.testing.assert_allclose(Lorentzian(4.0)(jnp.array([[0.0, 0.0], [0.0, half]])), [1, 0.5])


def test_sinc_is_the_average_over_a_pixel():
    """Averaging cos 2πkx over ±Δ/2 multiplies it by sinc(kΔ)."""
    x = (np.arange(1000) + 0.5) / 1000 * 3.0 - 1.5
    kx, ky = 0.11, 0.23
    expected = np.cos(2 * np.pi * kx * x).mean() * np.cos(2 * np.pi * ky * x).mean()
    value = Sinc(3.0)(jnp.array([[kx, ky]]))[0]
    assert float(value) == pytest.approx(expected, abs=1e-5)
    assert float((Sinc(3.0) ** -1)(jnp.array([[kx, ky]]))[0]) == pytest.approx(
        1 / expected, rel=1e-4
    )


def test_whitening_makes_noise_white():
    """From a stack: unit variance, flat to the 3 % that shells of 40 modes × 400 images scatter."""
    grid = ImageGrid(24, 2.0)
    noise = GaussianNoise(0.5 + 3 * GaussianFilter(200.0))
    images = noise.sample(jax.random.key(0), 400, grid) + 7
    whitened = apply_filter(images - 7, whitening_filter(images, 2.0), grid)
    flat = estimate_power(whitened, 2.0).value
    np.testing.assert_allclose(flat[2:], 1, atol=0.03)
    assert float(jnp.var(whitened)) == pytest.approx(1, abs=0.03)


def test_power_of_a_micrograph_of_any_shape():
    """Tiles of an oblong micrograph give the stack's spectrum, to the 10 % of one micrograph."""
    wide = ImageGrid(256, 2.0)
    spectrum = 0.5 + 3 * GaussianFilter(200.0)
    micrograph = GaussianNoise(spectrum).sample(jax.random.key(1), 1, wide)[0, :192]
    measured = estimate_power(micrograph, 2.0, box=32)
    expected = np.asarray(spectrum(jnp.stack([measured.radius, 0 * measured.radius], axis=-1)))
    np.testing.assert_allclose(measured.value[2:], expected[2:], rtol=0.15)
    with pytest.raises(ValueError, match="tiles of 300"):
        estimate_power(micrograph, 2.0, box=300)


@pytest.mark.parametrize("box", [15, 16])
def test_round_masks_are_discs_and_balls(box: int):
    grid = ImageGrid(box, 2.0)
    disc = RoundMask(8.0, 3.0)(grid.coordinates())
    ball = spherical_mask(box, 4.0, 1.5)
    np.testing.assert_allclose(disc, ball[box // 2], atol=1e-6)
    x = np.arange(box, dtype=np.float32) - box // 2
    space = jnp.asarray(np.stack(np.meshgrid(x, x, x, indexing="ij"), axis=-1)) * 2
    np.testing.assert_allclose(RoundMask(8.0, 3.0)(space), ball, atol=1e-6)
    np.testing.assert_array_equal(inside(RoundMask(8.0, 3.0), grid), np.asarray(disc) == 1)


def test_straight_masks():
    points = jnp.array([[0.0, 0.0], [4.9, -4.9], [5.5, 0.0], [0.0, 6.5], [1.9, 9.0]])
    np.testing.assert_allclose(SquareMask(5.0, 1.0)(points), [1, 1, 0.5, 0, 0], atol=1e-6)
    rectangle = RectangleMask(np.array([5.0, 8.0]), 1.0)
    np.testing.assert_allclose(rectangle(points), [1, 1, 0.5, 1, 0], atol=1e-6)
    filament = CylinderMask(2.0, angle=90.0)  # along y
    np.testing.assert_allclose(filament(points), [1, 0, 0, 1, 1], atol=1e-6)
    np.testing.assert_allclose(CylinderMask(2.0, 90.0, 7.0)(points), [1, 0, 0, 1, 0], atol=1e-6)


def test_normalisation_counts_the_region_only():
    region = np.zeros((16, 16), bool)
    region[4:12, 3:9] = True
    images = 5 + 3 * jax.random.normal(jax.random.key(2), (3, 16, 16))
    normal = np.asarray(normalize(images, region))
    np.testing.assert_allclose(normal[:, region].mean(axis=1), 0, atol=1e-5)
    np.testing.assert_allclose(normal[:, region].std(axis=1), 1, rtol=1e-5)
    assert np.all(np.abs(normal[:, ~region].std(axis=1) - 1) > 1e-4)

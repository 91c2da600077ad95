"""The CTF against golden values, a NumPy reference written from the formula, and derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vitreous.imaging.ctf import CTFParameters, electron_wavelength, evaluate_ctf

ctf = jax.jit(evaluate_ctf, static_argnames="contrast")
POINTS = np.array([[0.05, 0.0], [0.0, 0.05], [0.1, 0.1]], np.float32)


def parameters(**changes: float) -> CTFParameters:
    values = {
        "defocus_u": 15000.0,
        "defocus_v": 14000.0,
        "defocus_angle": 30.0,
        "voltage": 300.0,
        "spherical_aberration": 2.7,
        "amplitude_contrast": 0.1,
        "phase_shift": 0.0,
        "bfactor": 0.0,
        "scale": 1.0,
    } | changes
    return CTFParameters(**{name: np.float32(value) for name, value in values.items()})


def reference(k: np.ndarray, p: CTFParameters) -> np.ndarray:
    """Evaluate the formula of the conventions page in double precision, angles by atan2."""
    u, v, angle, voltage, cs, w, phase, b, scale = (np.float64(x)[..., None] for x in p)
    k = k.astype(np.float64)
    wavelength = 12.264259 / np.sqrt(voltage * 1e3 + 0.9784756e-6 * (voltage * 1e3) ** 2)
    square = k[..., 0] ** 2 + k[..., 1] ** 2
    theta = np.arctan2(k[..., 1], k[..., 0])
    defocus = 0.5 * (u + v + (u - v) * np.cos(2 * (theta - np.deg2rad(angle))))
    chi = np.pi * wavelength * defocus * square + np.deg2rad(phase)
    chi = chi - 0.5 * np.pi * cs * 1e7 * wavelength**3 * square**2
    return scale * np.exp(-b * square / 4) * (np.sqrt(1 - w**2) * np.sin(chi) + w * np.cos(chi))


@pytest.mark.parametrize(
    ("voltage", "expected"),
    [(100.0, 0.0370144), (120.0, 0.0334921), (200.0, 0.0250793), (300.0, 0.0196875)],
)
def test_wavelengths(voltage: float, expected: float) -> None:
    assert float(electron_wavelength(np.array([voltage]))[0]) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [0.690895, 0.744669, -0.395567]),
        ({"phase_shift": 90.0}, [-0.722955, -0.667434, 0.918437]),
        ({"bfactor": 100.0}, [0.649036, 0.699552, -0.239924]),
    ],
)
def test_golden_values(changes: dict, expected: list) -> None:
    """Single precision holds χ ≈ 15 rad to 1e-6, so the CTF too."""
    value = ctf(jnp.asarray(POINTS), parameters(**changes))
    np.testing.assert_allclose(value, expected, atol=5e-6)
    dark = ctf(jnp.asarray(POINTS), parameters(**changes), contrast="dark")
    np.testing.assert_array_equal(dark, -value)


def test_random_parameters_agree_with_the_formula() -> None:
    rng = np.random.default_rng(0)
    n = 40
    p = CTFParameters(
        rng.uniform(3000, 30000, n),
        rng.uniform(3000, 30000, n),
        rng.uniform(-180, 180, n),
        rng.choice([100, 200, 300], n),
        rng.uniform(0, 3, n),
        rng.uniform(0, 0.2, n),
        rng.uniform(0, 180, n),
        rng.uniform(0, 100, n),
        rng.uniform(0.5, 1, n),
    )
    p = CTFParameters(*(np.float32(x) for x in p))
    k = rng.uniform(-0.15, 0.15, (60, 2)).astype(np.float32)
    # χ reaches 150 rad, where single precision resolves 2e-5.
    np.testing.assert_allclose(ctf(jnp.asarray(k), p), reference(k, p), atol=2e-4)


def test_white_particles_at_zero_frequency() -> None:
    value = ctf(jnp.zeros((1, 2)), parameters(amplitude_contrast=0.07, scale=2.0))
    assert float(value[0]) == pytest.approx(0.14, rel=1e-6)


def test_u_lies_at_the_astigmatism_angle_from_x() -> None:
    """Along 30° from +x towards +y only U acts, across it only V."""
    for angle, defocus in [(30.0, 15000.0), (120.0, 14000.0), (210.0, 15000.0)]:
        direction = np.array([[np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))]])
        k = jnp.asarray(direction * 0.06, jnp.float32)
        round_one = parameters(defocus_u=defocus, defocus_v=defocus, defocus_angle=0.0)
        np.testing.assert_allclose(ctf(k, parameters()), ctf(k, round_one), atol=5e-6)


def test_friedel_symmetry() -> None:
    k = jnp.asarray(POINTS)
    np.testing.assert_array_equal(ctf(k, parameters()), ctf(-k, parameters()))


def test_batches_broadcast() -> None:
    batch = CTFParameters(*(np.full(3, x, np.float32) for x in parameters()))
    k = jnp.asarray(POINTS)
    shared = ctf(k, batch)
    own = ctf(jnp.broadcast_to(k, (3, 3, 2)), batch)
    assert shared.shape == own.shape == (3, 3)
    np.testing.assert_array_equal(shared, own)
    per_image_grid = ctf(jnp.broadcast_to(k, (4, 3, 2)), parameters())
    assert per_image_grid.shape == (4, 3)
    none = CTFParameters(*(np.zeros(0, np.float32) for _ in parameters()))
    assert ctf(k, none).shape == (0, 3)


def test_gradients_agree_with_finite_differences() -> None:
    """Central differences of the double-precision formula, step h: error h² f‴/6 ≪ 1e-3."""
    p = parameters(phase_shift=20.0, bfactor=30.0)
    k = POINTS

    def total(p: CTFParameters) -> jax.Array:
        return jnp.sum(ctf(jnp.asarray(k), p) * jnp.array([1.0, -2.0, 3.0]))

    gradient = jax.jit(jax.grad(total))(CTFParameters(*(jnp.asarray(x) for x in p)))
    for name, step in [
        ("defocus_u", 1.0),
        ("defocus_v", 1.0),
        ("defocus_angle", 0.1),
        ("spherical_aberration", 1e-3),
        ("amplitude_contrast", 1e-4),
        ("phase_shift", 0.01),
        ("bfactor", 0.1),
        ("scale", 1e-3),
    ]:
        exact = CTFParameters(*(np.float64(x) for x in p))
        up = exact._replace(**{name: getattr(exact, name) + step})
        down = exact._replace(**{name: getattr(exact, name) - step})
        difference = (reference(k, up) - reference(k, down)) / (2 * step)
        expected = difference @ np.array([1.0, -2.0, 3.0])
        np.testing.assert_allclose(getattr(gradient, name), expected, rtol=2e-3, err_msg=name)

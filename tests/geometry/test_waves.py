"""Waves against NumPy in double precision, and their derivatives."""

import jax
import jax.numpy as jnp
import numpy as np

from vitreous.geometry.waves import sine_of_turns, wave_of_turns

# Values a float32 holds exactly, so that only the function itself can err.
TURNS = np.concatenate(
    [np.arange(-8, 9) / 8, np.random.default_rng(0).uniform(-300, 300, 5000)]
).astype(np.float32)


def test_waves_are_exact_to_rounding() -> None:
    """Whole turns drop out without error: 300 turns are as exact as one."""
    exact = np.exp(2j * np.pi * TURNS.astype(np.float64))
    np.testing.assert_allclose(wave_of_turns(jnp.asarray(TURNS)), exact, atol=2.5e-7)
    np.testing.assert_allclose(sine_of_turns(jnp.asarray(TURNS)), exact.imag, atol=2.5e-7)


def test_slopes() -> None:
    """d sin 2πt = 2π cos 2πt dt, also where the polynomial is folded."""
    slope = jax.jit(jax.vmap(jax.grad(sine_of_turns)))(jnp.asarray(TURNS))
    exact = 2 * np.pi * np.cos(2 * np.pi * TURNS.astype(np.float64))
    np.testing.assert_allclose(slope, exact, atol=3e-5)
    cosine_slope = jax.jit(jax.vmap(jax.grad(lambda t: wave_of_turns(t).real)))(jnp.asarray(TURNS))
    exact = -2 * np.pi * np.sin(2 * np.pi * TURNS.astype(np.float64))
    np.testing.assert_allclose(cosine_slope, exact, atol=3e-5)


def test_double_precision_stays_double() -> None:
    with jax.enable_x64(True):
        turns = jnp.linspace(-2.0, 2.0, 41)
        exact = np.exp(2j * np.pi * np.linspace(-2.0, 2.0, 41))
        np.testing.assert_allclose(wave_of_turns(turns), exact, atol=1e-14)

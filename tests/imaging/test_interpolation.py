"""Interpolation kernels: weights and transforms are one Fourier pair."""

import jax.numpy as jnp
import numpy as np
import pytest

from vitreous.imaging.interpolation import axis_weights, kernel_transform


@pytest.mark.parametrize("kernel", ["linear", "cubic", "kaiser"])
def test_weights_have_the_transform_that_undoes_them(kernel: str) -> None:
    """`∫ w(u) exp(−2πi u x) du` by the trapezoid rule, at places inside and outside the box."""
    t = np.linspace(0, 1, 2001)
    weights = [np.asarray(w, np.float64) for w in axis_weights(jnp.asarray(t, jnp.float32), kernel)]
    first = 1 - len(weights) // 2
    for x in (0.0, 0.13, 0.5, 0.77, 1.0, 1.4):
        total = sum(
            np.trapezoid(w * np.exp(-2j * np.pi * (t - point) * x), t)
            for point, w in enumerate(weights, first)
        )
        assert abs(total - kernel_transform(np.array(x), kernel)) < 2e-6


@pytest.mark.parametrize("kernel", ["linear", "cubic"])
def test_splines_keep_constants(kernel: str) -> None:
    t = jnp.linspace(0.0, 1.0, 11)
    np.testing.assert_allclose(sum(axis_weights(t, kernel)), 1, atol=1e-6)


def test_copies_of_the_density_are_damped() -> None:
    """What is left of the neighbouring box, relative, where molecules are: half as wide a box.

    Kaiser–Bessel leaves a fifth or less of what the cubic spline does at a quarter of a box.
    """
    x = np.array([0.25])
    left = {
        kernel: abs(kernel_transform(x - 1, kernel) / kernel_transform(x, kernel)).item()
        for kernel in ("linear", "cubic", "kaiser")
    }
    assert left["linear"] > 5 * left["cubic"] > 25 * left["kaiser"]

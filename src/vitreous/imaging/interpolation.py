"""The kernels a Fourier grid is interpolated with: their weights, and what undoes them.

A kernel multiplies the density by its own transform, which `volume_to_grid` divides out beforehand,
and adds copies of it at whole boxes, damped by that transform: what is left as error. Kaiser and
Bessel's kernel damps them most where molecules have their mass: with as many points as the cubic
B-spline, errors are four times smaller.
"""

from functools import lru_cache
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Kernel = Literal["linear", "cubic", "kaiser"]
GUARD: dict[str, int] = {"linear": 0, "cubic": 1, "kaiser": 1}
# Balances the errors of molecules that fill half the box against those of ones that fill it.
_BETA, _DEGREE = 8.8, 9


def axis_weights(t: Float[Array, "..."], kernel: Kernel) -> list[Float[Array, "..."]]:
    """Return the weights of the points around a place along one axis, in order.

    **Arguments:** `t`: distance from the point below, 0 to 1.

    **Returns:** 2 weights (points 0 and 1) or 4 (points −1 to 2).
    """
    s = 1 - t
    if kernel == "linear":
        return [s, t]
    if kernel == "cubic":
        return [
            s * s * s / 6,
            (4 - 3 * t * t * (1 + s)) / 6,
            (4 - 3 * s * s * (1 + t)) / 6,
            t * t * t / 6,
        ]
    x = 2 * t - 1
    square = x * x
    outer, inner = (
        (_horner(square, even), x * _horner(square, odd)) for even, odd in _kaiser_polynomials()
    )
    # A point and its mirror image have mirrored polynomials.
    return [outer[0] + outer[1], inner[0] + inner[1], inner[0] - inner[1], outer[0] - outer[1]]


def kernel_transform(x: Float[np.ndarray, "..."], kernel: Kernel) -> Float[np.ndarray, "..."]:
    """Return the Fourier transform of a kernel, 1 at the origin, at x boxes from the centre."""
    if kernel != "kaiser":
        return np.asarray(np.sinc(x) ** (2 if kernel == "linear" else 4))
    square = _BETA**2 - (4 * np.pi * np.asarray(x, np.float64)) ** 2
    root = np.sqrt(np.abs(square))
    inside = np.sinh(root) / np.maximum(root, 1e-12)
    return np.asarray(np.where(square > 0, inside, np.sinc(root / np.pi)) * _BETA / np.sinh(_BETA))


def _horner(x: Float[Array, "..."], coefficients: tuple[float, ...]) -> Float[Array, "..."]:
    total = jnp.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        total = total * x + coefficient
    return total


@lru_cache(maxsize=1)
def _kaiser_polynomials() -> tuple[tuple[tuple[float, ...], tuple[float, ...]], ...]:
    """Fit the weights of points −1 and 0 over 2t − 1, to 1e-7; even and odd coefficients.

    **Source:** the weight is `I₀(β √(1 − (u/2)²)) β / (4 sinh β)` at distance u, whose transform is
    that of `kernel_transform`.
    """
    x = np.cos(np.pi * (np.arange(200) + 0.5) / 200)
    fits = []
    for point in (-1, 0):
        u = (x + 1) / 2 - point
        weight = np.i0(_BETA * np.sqrt(1 - (u / 2) ** 2)) * _BETA / (4 * np.sinh(_BETA))
        chebyshev = np.polynomial.chebyshev.chebfit(x, weight, _DEGREE)
        power = np.polynomial.chebyshev.cheb2poly(chebyshev)
        fits.append((tuple(map(float, power[::2])), tuple(map(float, power[1::2]))))
    return tuple(fits)

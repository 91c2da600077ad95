"""Aberrations beyond defocus and Cs: beam tilt and Zernike terms, as RELION lists them.

Phases are in turns. Even ones belong to χ; odd ones multiply an image by `exp(2πi · phase)`.
"""

from math import factorial, isqrt

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vitreous.imaging.ctf import electron_wavelength


def even_modes(count: int) -> list[tuple[int, int]]:
    """List the first even Zernike modes `(n, m)`: (0,0), (2,−2), (2,0), (2,2), (4,−4), …"""
    return [(2 * isqrt(i), 2 * (i - isqrt(i) ** 2 - isqrt(i))) for i in range(count)]


def odd_modes(count: int) -> list[tuple[int, int]]:
    """List the first odd Zernike modes `(n, m)`: (1,−1), (1,1), (3,−3), (3,−1), (3,1), (3,3), …"""
    rows = [(isqrt(1 + 4 * i) - 1) // 2 for i in range(count)]
    return [(2 * k + 1, 2 * (i - k * k - k) - 2 * k - 1) for i, k in enumerate(rows)]


def zernike(frequency: Float[Array, "... p 2"], n: int, m: int) -> Float[Array, "... p"]:
    """Evaluate a Zernike polynomial: `R(k) cos mθ` for m ≥ 0, `R(k) sin |m|θ` below.

    **Arguments:** `frequency`: `(kx, ky)`; as in RELION the radius is the number of cycles/Å
    itself, not a fraction of some aperture.

    **Source:** Born & Wolf, Principles of Optics, 9.2.1.
    """
    order = abs(m)
    kx, ky = frequency[..., 0], frequency[..., 1]
    square = kx * kx + ky * ky
    # (kx + i ky)^|m| = k^|m| (cos |m|θ + i sin |m|θ), without a division at the origin.
    real, imaginary = jnp.ones_like(kx), jnp.zeros_like(kx)
    for _ in range(order):
        real, imaginary = real * kx - imaginary * ky, real * ky + imaginary * kx
    radial = jnp.zeros_like(kx)
    for s in range((n - order) // 2 + 1):
        coefficient = (-1) ** s * factorial(n - s)
        coefficient //= factorial(s) * factorial((n + order) // 2 - s)
        coefficient /= factorial((n - order) // 2 - s)
        radial = radial + coefficient * square ** ((n - order) // 2 - s)
    return radial * (real if m >= 0 else imaginary)


def _zernike_sum(
    frequency: Float[Array, "... p 2"],
    coefficients: Float[Array, "... c"],
    modes: list[tuple[int, int]],
) -> Float[Array, "... p"]:
    terms = [
        coefficients[..., i, None] * zernike(frequency, n, m) for i, (n, m) in enumerate(modes)
    ]
    return jnp.sum(jnp.stack(terms), axis=0)


def even_phase(
    frequency: Float[Array, "... p 2"], coefficients: Float[Array, "... c"]
) -> Float[Array, "... p"]:
    """Return the even phase to add to χ, in turns: `−Σ cᵢ Zᵢ / 2π`.

    **Arguments:** `coefficients`: `rlnEvenZernike`, radians. RELION adds them to `γ = −χ`, hence
    the sign. Leading axes are those of `frequency`.
    """
    modes = even_modes(coefficients.shape[-1])
    return -_zernike_sum(frequency, coefficients, modes) / (2 * np.pi)


def odd_phase(
    frequency: Float[Array, "... p 2"], coefficients: Float[Array, "... c"]
) -> Float[Array, "... p"]:
    """Return the odd phase of an image in turns, `Σ cᵢ Zᵢ / 2π`.

    **Arguments:** `coefficients`: `rlnOddZernike`, radians. Leading axes are those of `frequency`.
    """
    modes = odd_modes(coefficients.shape[-1])
    return _zernike_sum(frequency, coefficients, modes) / (2 * np.pi)


def beam_tilt_phase(
    frequency: Float[Array, "... p 2"],
    tilt: Float[Array, "... 2"],
    voltage: Float[Array, "..."],
    spherical_aberration: Float[Array, "..."],
) -> Float[Array, "... p"]:
    """Return the axial coma of a tilted beam in turns, `−Cs λ² k² (k·τ)`.

    It is the term of χ(k + τ/λ) linear in the tilt; the shift of the whole image that a tilt
    also brings (defocus times tilt) counts as part of the particle's own shift.

    **Arguments:** `tilt`: `(τx, τy)` in mrad, as `rlnBeamTiltX/Y`. `voltage` in kV,
    `spherical_aberration` in mm. Leading axes are those of `frequency`.
    """
    square = jnp.sum(frequency * frequency, axis=-1)
    along = jnp.sum(frequency * tilt[..., None, :], axis=-1)
    scale = spherical_aberration * 1e7 * electron_wavelength(voltage) ** 2 * 1e-3
    return -scale[..., None] * square * along

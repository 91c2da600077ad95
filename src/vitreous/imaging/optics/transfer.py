"""From the phase that a specimen gives the beam to the contrast of its image.

Four theories, each the limit of the next for weak phases: linear contrast, the wave behind a weak
phase object, the eikonal wave, and any exit wave (multislice). All are stated for the intensity
`I = 1 + 2C` of a unit beam. `C` has the physical, dark sign here; `white` images are `−C`.

A wave behind the specimen is `ψ = 1 + scattered`. The lens passes the 1 and multiplies the
scattered part, its mean included, by `envelope · exp(iχ)`: a phase plate thus acts on all of it.
"""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from vitreous.geometry.fourier import frequencies, half_plane
from vitreous.imaging.grid import ImageGrid
from vitreous.imaging.optics.lens import Optics

Theory = Literal["linear", "weak-phase", "eikonal", "multislice", "ewald"]


def _half_plane_points(grid: ImageGrid) -> Float[Array, "p 2"]:
    return grid.frequencies().reshape(-1, 2)


def whole_plane(grid: ImageGrid) -> Float[Array, "n n 2"]:
    """List `(kx, ky)` of the whole plane in cycles/Å, rows and columns in FFT order."""
    k = np.fft.ifftshift(frequencies(grid.box, 2), (0, 1))
    return jnp.asarray(k, grid.pixel_size.dtype) / grid.extent


def _amplitudes(optics: Optics) -> tuple[Array, Array]:
    """Return `√(1 − w²)` and w with two more axes, for images."""
    w = optics.amplitude_contrast[..., None, None]
    return jnp.sqrt(1 - w * w), w


def linear_contrast(
    phase: Complex[Array, "b n h"],
    optics: Optics,
    grid: ImageGrid,
    z_offset: Float[Array, " b"] | None = None,
) -> Complex[Array, "b n h"]:
    """Return the contrast `C = −CTF · η`, with odd aberrations as a factor.

    **Arguments:** `phase`: half planes of η (radians). `z_offset`: heights of the particles, Å.
    """
    points = _half_plane_points(grid)
    transfer = optics.ctf(points, z_offset, contrast="dark")
    transfer = transfer.reshape(*transfer.shape[:-1], grid.box, grid.columns)
    odd = optics.odd_factor(points)
    image = phase * _with_rank(transfer, phase)
    if odd is None:
        return image
    return image * _with_rank(odd.reshape(*odd.shape[:-1], grid.box, grid.columns), phase)


def _with_rank(values: Array, like: Array) -> Array:
    """Give factors the number of axes and the type of what they multiply."""
    return values.reshape(*(1,) * (like.ndim - values.ndim), *values.shape).astype(like.dtype)


def exit_wave(
    phase: Float[Array, "b n n"], optics: Optics, theory: Literal["weak-phase", "eikonal"]
) -> Complex[Array, "b n n"]:
    """Return the wave behind a specimen that gives the beam a phase η (radians).

    **Returns:** `1 + i(√(1−w²) + iw) η` of a weak phase object, or `exp` of the latter term.
    """
    real, absorbed = (jnp.broadcast_to(a, phase.shape) for a in _amplitudes(optics))
    exponent = jax.lax.complex(-absorbed * phase, real * phase)
    return 1 + exponent if theory == "weak-phase" else jnp.exp(exponent)


def wave_intensity(
    wave: Complex[Array, "b n n"],
    optics: Optics,
    grid: ImageGrid,
    z_offset: Float[Array, " b"] | None = None,
) -> Float[Array, "b n n"]:
    """Return the intensity `|ψ|²` in the image plane of any wave behind the specimen.

    **Arguments:** `wave`: 1 where there is nothing; amplitude contrast is part of it.
    """
    transfer = optics.wave_transfer(whole_plane(grid).reshape(-1, 2), z_offset)
    transfer = transfer.reshape(*transfer.shape[:-1], grid.box, grid.box)
    # The origin of a plain FFT is a corner, but a product of transforms does not care.
    scattered = jnp.fft.ifft2(jnp.fft.fft2(wave - 1) * _with_rank(transfer, wave))
    image = 1 + scattered
    return image.real**2 + image.imag**2


def wave_contrast(
    wave: Complex[Array, "b n n"],
    optics: Optics,
    grid: ImageGrid,
    z_offset: Float[Array, " b"] | None = None,
) -> Complex[Array, "b n h"]:
    """Return half planes of `C = (I − 1) / 2` of a wave behind the specimen."""
    return half_plane((wave_intensity(wave, optics, grid, z_offset) - 1) / 2)


def ewald_contrast(
    plus: Complex[Array, "b n h"],
    minus: Complex[Array, "b n h"],
    optics: Optics,
    grid: ImageGrid,
    z_offset: Float[Array, " b"] | None = None,
) -> Complex[Array, "b n h"]:
    """Return the contrast of phases read on the two sides of the Ewald sphere.

    **Arguments:** `plus`: η̂ on the sphere at `+k`, half planes. `minus`: the conjugate of η̂ on
    the sphere at `−k`, that is, η̂ at `k` on the sphere's mirror image.

    **Returns:** `½ (iA e^{iχ} minus − iA* e^{−iχ} plus)` with `A = √(1−w²) + iw`: `−CTF · η` where
    both sides agree, and odd aberrations as a factor.
    """
    points = _half_plane_points(grid)
    dark = optics.ctf(points, z_offset, contrast="dark")
    # A quarter of a turn on, the CTF is √(1−w²) cos χ − w sin χ.
    turned = eqx.tree_at(lambda o: o.phase_shift, optics, optics.phase_shift + 90.0)
    quarter = turned.ctf(points, z_offset, contrast="white")
    shape = (grid.box, grid.columns)
    dark = _with_rank(dark.reshape(*dark.shape[:-1], *shape), plus)
    quarter = _with_rank(quarter.reshape(*quarter.shape[:-1], *shape), plus)
    image = 0.5 * (dark * (plus + minus) - 1j * quarter * (plus - minus))
    odd = optics.odd_factor(points)
    if odd is None:
        return image
    return image * _with_rank(odd.reshape(*odd.shape[:-1], *shape), plus)

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
from jaxtyping import Array, Complex, Float, Inexact

from vitreous.geometry.fourier import frequencies, half_plane
from vitreous.imaging.ctf import Contrast
from vitreous.imaging.grid import ImageGrid
from vitreous.imaging.optics.lens import Optics


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


def on_half_plane(values: Inexact[Array, "... p"], grid: ImageGrid) -> Inexact[Array, "... n h"]:
    """Lay factors of frequencies out as half planes.

    On the Nyquist column of an even box one wave stands for two; its factor is the mean of theirs,
    as in the real image.
    """
    plane = values.reshape(*values.shape[:-1], grid.box, grid.columns)
    if grid.box % 2:
        return plane
    column = plane[..., -1]
    mate = jnp.roll(column[..., ::-1], 1, axis=-1).conj()
    return plane.at[..., -1].set(0.5 * (column + mate))


def image_transfer(
    optics: Optics,
    grid: ImageGrid,
    z_offset: Float[Array, " b"] | None = None,
    contrast: Contrast | None = None,
) -> Inexact[Array, "... n h"]:
    """Return what linear contrast multiplies half planes by: CTF and odd aberrations.

    **Returns:** real, or complex if there are odd aberrations.
    """
    points = _half_plane_points(grid)
    transfer = optics.ctf(points, z_offset, contrast)
    odd = optics.odd_factor(points)
    if odd is not None:
        rank = max(odd.ndim, transfer.ndim)
        odd, transfer = (x.reshape(*(1,) * (rank - x.ndim), *x.shape) for x in (odd, transfer))
        transfer = transfer.astype(odd.dtype) * odd
    return on_half_plane(transfer, grid)


def linear_contrast(
    phase: Complex[Array, "b n h"],
    optics: Optics,
    grid: ImageGrid,
    z_offset: Float[Array, " b"] | None = None,
) -> Complex[Array, "b n h"]:
    """Return the contrast `C = −CTF · η`, with odd aberrations as a factor.

    **Arguments:** `phase`: half planes of η (radians). `z_offset`: heights of the particles, Å.
    """
    return phase * _with_rank(image_transfer(optics, grid, z_offset, "dark"), phase)


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
    dark = image_transfer(optics, grid, z_offset, "dark")
    # A quarter of a turn on, the CTF is √(1−w²) cos χ − w sin χ.
    turned = eqx.tree_at(lambda o: o.phase_shift, optics, optics.phase_shift + 90.0)
    quarter = 1j * image_transfer(turned, grid, z_offset, "white").astype(plus.dtype)
    return 0.5 * (
        _with_rank(dark, plus) * (plus + minus) - _with_rank(quarter, plus) * (plus - minus)
    )

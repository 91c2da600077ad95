"""Centred Fourier and Hartley transforms, any even or odd box.

The centre of a box of side `n` is index `n // 2` on every axis. Forward transforms are
un-normalised, inverse ones carry `1/N`. Half planes (rfft) keep NumPy's row order
(`0, 1, …, −1`), their phases refer to the box centre.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float


def _axes(dimensions: int) -> tuple[int, ...]:
    return tuple(range(-dimensions, 0))


def fft_centered(x: Array, dimensions: int) -> Complex[Array, "..."]:
    """Transform the last `dimensions` axes; zero frequency lies at index `n // 2`."""
    axes = _axes(dimensions)
    return jnp.fft.fftshift(jnp.fft.fftn(jnp.fft.ifftshift(x, axes), axes=axes), axes)


def ifft_centered(x: Complex[Array, "..."], dimensions: int) -> Complex[Array, "..."]:
    """Undo `fft_centered`."""
    axes = _axes(dimensions)
    return jnp.fft.fftshift(jnp.fft.ifftn(jnp.fft.ifftshift(x, axes), axes=axes), axes)


def half_plane(images: Float[Array, "... n n"]) -> Complex[Array, "... n h"]:
    """Transform real images into their half plane, `h = n // 2 + 1` columns (kx ≥ 0).

    Rows are in FFT order (`fftfreq`), columns are kx = 0 … n//2.
    """
    return jnp.fft.rfft2(jnp.fft.ifftshift(images, (-2, -1)))


def image_from_half_plane(half: Complex[Array, "... n h"], box: int) -> Float[Array, "... n n"]:
    """Undo `half_plane` for images of side `box`."""
    return jnp.fft.fftshift(jnp.fft.irfft2(half, s=(box, box)), (-2, -1))


def half_space(volumes: Float[Array, "... n n n"]) -> Complex[Array, "... n n h"]:
    """Transform real volumes into their half space (kx ≥ 0), rows and sections in FFT order."""
    axes = (-3, -2, -1)
    return jnp.fft.rfftn(jnp.fft.ifftshift(volumes, axes), axes=axes)


def volume_from_half_space(
    half: Complex[Array, "... n n h"], box: int
) -> Float[Array, "... n n n"]:
    """Undo `half_space` for volumes of side `box`."""
    axes = (-3, -2, -1)
    return jnp.fft.fftshift(jnp.fft.irfftn(half, s=(box, box, box), axes=axes), axes)


def hartley_centered(x: Float[Array, "..."], dimensions: int) -> Float[Array, "..."]:
    """Transform with the kernel cas = cos + sin: `Re F − Im F` of the centred Fourier transform."""
    transform = fft_centered(x, dimensions)
    return transform.real - transform.imag


def ihartley_centered(x: Float[Array, "..."], dimensions: int) -> Float[Array, "..."]:
    """Undo `hartley_centered`: the same transform divided by the number of points."""
    return hartley_centered(x, dimensions) / np.prod(x.shape[-dimensions:], dtype=np.float64).item()


def half_plane_weights(box: int) -> np.ndarray:
    """Count how often each half-plane column stands in the full plane: `m_k`, shape `(box//2+1,)`.

    1 on self-conjugate columns (kx = 0 and, for even boxes, the Nyquist column), 2 elsewhere, so
    that `Σ_x f² = (1/N) Σ_k m_k |F_k|²` holds exactly.
    """
    weights = np.full(box // 2 + 1, 2, np.float32)
    weights[0] = 1
    if box % 2 == 0:
        weights[-1] = 1
    return weights


def frequencies(box: int, dimensions: int, half: bool = False) -> np.ndarray:
    """List integer frequencies (cycles/box) of a grid, last axis `(kx, ky[, kz])`.

    **Arguments:** `half`: rfft layout (FFT row order, kx ≥ 0) instead of the centred full grid.

    **Returns:** float32, shape `(n, …, n, dimensions)` or `(n, …, n//2+1, dimensions)`.
    """
    if half:
        axis = np.fft.fftfreq(box, 1 / box)
        axes = [axis] * (dimensions - 1) + [np.arange(box // 2 + 1)]
    else:
        axes = [np.arange(box) - box // 2] * dimensions
    grids = np.meshgrid(*axes, indexing="ij")
    return np.stack(grids[::-1], axis=-1).astype(np.float32)


def coordinates(box: int, dimensions: int) -> np.ndarray:
    """List pixel coordinates from the box centre, last axis `(x, y[, z])`, float32."""
    return frequencies(box, dimensions)

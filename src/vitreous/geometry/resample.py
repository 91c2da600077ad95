"""Change the number of pixels of images or volumes in Fourier space, any parity to any parity.

The mean is kept, and so is the place of the centre, `n // 2`. At the Nyquist frequency of an even
box one wave stands for two: it is their sum when a box shrinks, and is shared when it grows.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float


def _resize_full(x: Complex[Array, "..."], axis: int, box: int) -> Complex[Array, "..."]:
    """Crop or zero-pad one axis in FFT order."""
    n = x.shape[axis]
    x = jnp.moveaxis(x, axis, 0)
    if box < n:
        kept = np.fft.ifftshift(np.arange(box) - box // 2)
        out = x[kept % n]
        if box % 2 == 0:
            out = out.at[box // 2].add(x[box // 2])
    elif box > n:
        k = np.fft.ifftshift(np.arange(n) - n // 2)
        share = jnp.asarray(np.where(2 * k == -n, 0.5, 1.0), x.dtype)
        x = x * share.reshape(-1, *(1,) * (x.ndim - 1))
        out = jnp.zeros((box, *x.shape[1:]), x.dtype).at[k % box].set(x)
        if n % 2 == 0:
            out = out.at[n // 2].set(x[n // 2])
    else:
        out = x
    return jnp.moveaxis(out, 0, axis)


def _resize_half(x: Complex[Array, "... h"], n: int, box: int) -> Complex[Array, "... m"]:
    """Crop or zero-pad the last, half axis (kx ≥ 0) of a box of `n`."""
    if box == n:
        return x
    small = min(n, box)
    x = x[..., : small // 2 + 1]
    if small % 2 == 0:
        x = x.at[..., -1].multiply(2.0 if box < n else 0.5)
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, box // 2 + 1 - x.shape[-1])])


def resample(x: Float[Array, "..."], box: int, dimensions: int) -> Float[Array, "..."]:
    """Resample the last `dimensions` axes, all of one length, to `box` points each.

    **Arguments:** `x`: images (`dimensions=2`) or volumes (3), any leading axes. `box`: new side;
    the pixel size becomes `old side / box` times the old one.
    """
    n = x.shape[-1]
    axes = tuple(range(-dimensions, 0))
    half = jnp.fft.rfftn(jnp.fft.ifftshift(x, axes), axes=axes)
    for axis in axes[:-1]:
        half = _resize_full(half, axis, box)
    half = _resize_half(half, n, box)
    out = jnp.fft.irfftn(half, s=(box,) * dimensions, axes=axes)
    return jnp.fft.fftshift(out, axes) * (box / n) ** dimensions

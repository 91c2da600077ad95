"""Change the sampling of images and volumes by cropping or padding their Fourier transform."""

import numpy as np
import scipy.fft
from jaxtyping import Float32


def fourier_resample(
    x: Float32[np.ndarray, "..."], size: int, dimensions: int, threads: int = 1
) -> Float32[np.ndarray, "..."]:
    """Resample the last `dimensions` axes, all of one length, to `size` points.

    The box keeps its extent in Å and its centre (`n // 2`), any parity. Values keep their scale:
    a constant stays that constant, the mean is preserved. (cryoDRGN preserves the sum, so its
    values are larger by `(n / size)^dimensions`; training normalises either.)

    **Arguments:** `x` float32, leading axes are a batch; `threads`: how many the transforms use.

    **Returns:** float32, `size` points along each of the last axes. Band-limited signals are
    exact; at the new Nyquist frequency of an even box the two signs are averaged, which keeps
    the result real.
    """
    for axis in range(-dimensions, 0):
        x = _resample_axis(x, size, axis, threads)
    return x


def _resample_axis(x: np.ndarray, size: int, axis: int, threads: int) -> np.ndarray:
    n = x.shape[axis]
    if n == size:
        return x
    if x.size == 0:
        return np.zeros((*x.shape[:axis], size, *x.shape[axis:][1:]), np.float32)
    spectrum = scipy.fft.rfft(np.fft.ifftshift(x, axis), axis=axis, workers=threads)
    kept = min(n, size) // 2 + 1
    spectrum = spectrum[(..., slice(kept)) + (slice(None),) * (-axis - 1)]
    if size > n and n % 2 == 0:
        # The Nyquist column stood for both signs; in the longer box it is written once for each.
        weight = np.ones(kept, np.float32)
        weight[-1] = 0.5
        spectrum = spectrum * weight.reshape((-1,) + (1,) * (-axis - 1))
    y = scipy.fft.irfft(spectrum, n=size, axis=axis, workers=threads)
    return np.fft.fftshift(y, axis) * np.float32(size / n)

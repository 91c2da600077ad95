"""The Fourier half plane of images of any size, height and width unlike.

Rows in FFT order, columns kx = 0 … width // 2, as `numpy.fft.rfft2` lays them; phases refer to
pixel (0, 0), not to a centre.
"""

import numpy as np
from jaxtyping import Float

from vitreous.geometry.fourier import half_plane_weights

Shape = tuple[int, int]


def rectangle_frequencies(shape: Shape) -> Float[np.ndarray, "h c 2"]:
    """List `(kx, ky)` of a half plane in cycles/pixel, float32.

    **Arguments:** `shape`: `(height, width)` of the image.

    ```python
    >>> rectangle_frequencies((4, 6))[1, 2].tolist()
    [0.3333333432674408, 0.25]

    ```
    """
    height, width = shape
    ky, kx = np.meshgrid(np.fft.fftfreq(height), np.fft.rfftfreq(width), indexing="ij")
    return np.stack([kx, ky], axis=-1).astype(np.float32)


def rectangle_weights(shape: Shape) -> Float[np.ndarray, " c"]:
    """Count how often each column of the half plane stands in the whole plane, 1 or 2."""
    return half_plane_weights(shape[1])

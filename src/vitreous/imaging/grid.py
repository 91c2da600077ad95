"""The pixels of an image: how many there are, how large they are, and their Fourier half plane.

The centre of the image is pixel `box // 2`. Half planes are those of `geometry.fourier.half_plane`:
rows in FFT order, columns kx = 0 … box//2, phases relative to the centre.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vitreous.geometry.fourier import coordinates, frequencies, half_plane_weights
from vitreous.imaging.fourier_grid import padded_box


def readable(
    number: float | np.ndarray | np.generic | Array, dtype: np.dtype | None = None
) -> Array:
    """Return an array that can still be read as a number where code is being compiled.

    **Arguments:** `dtype`: that of the result; the default one for Python's numbers unless given.
    """
    if isinstance(number, jax.core.Tracer):
        return number if dtype is None else number.astype(dtype)
    if dtype is None and not isinstance(number, jax.Array):
        dtype = jax.dtypes.canonicalize_dtype(np.float64)
    with jax.ensure_compile_time_eval():
        return jnp.asarray(number, dtype)


class ImageGrid(eqx.Module):
    """Hold the side of a square image and its pixel size.

    **Fields:** `box`: side in pixels, fixed when code is compiled. `pixel_size`: Å, an array that
    can be traced, differentiated and batched.

    ```python
    >>> grid = ImageGrid(128, 1.5)
    >>> grid.frequencies().shape, float(grid.nyquist)
    ((128, 65, 2), 0.3333333432674408)

    ```
    """

    box: int = eqx.field(static=True)
    pixel_size: Float[Array, "..."]

    def __init__(self, box: int, pixel_size: float | np.ndarray | np.generic | Array) -> None:
        if box < 1:
            raise ValueError(f"an image has one pixel at least, not {box}")
        if not isinstance(pixel_size, jax.Array) and not np.all(np.asarray(pixel_size) > 0):
            raise ValueError(f"a pixel size in Å is positive, not {pixel_size}")
        self.box = int(box)
        self.pixel_size = readable(pixel_size)

    @property
    def columns(self) -> int:
        """Number of columns of the half plane, `box // 2 + 1`."""
        return self.box // 2 + 1

    @property
    def extent(self) -> Float[Array, "..."]:
        """Side of the image in Å."""
        return self.box * self.pixel_size

    @property
    def nyquist(self) -> Float[Array, "..."]:
        """The highest frequency along an axis, cycles/Å."""
        return 0.5 / self.pixel_size

    def frequencies(self) -> Float[Array, "n h 2"]:
        """List `(kx, ky)` of the half plane in cycles/Å; the pixel size must be a single number."""
        k = jnp.asarray(frequencies(self.box, 2, half=True), self.pixel_size.dtype)
        return k / self.extent

    def coordinates(self) -> Float[Array, "n n 2"]:
        """List `(x, y)` of the pixels in Å from the centre."""
        return jnp.asarray(coordinates(self.box, 2), self.pixel_size.dtype) * self.pixel_size

    def weights(self) -> Float[np.ndarray, " h"]:
        """Count how often each column of the half plane stands in the whole plane, 1 or 2."""
        return half_plane_weights(self.box)

    def resized(self, box: int) -> "ImageGrid":
        """Return a grid of another side with the same pixels."""
        return ImageGrid(box, self.pixel_size)

    def padded(self, factor: float) -> "ImageGrid":
        """Return a grid at least `factor` times as wide, of a side whose FFT is fast."""
        return self.resized(padded_box(self.box, factor))

    def refined(self, factor: float) -> "ImageGrid":
        """Return a grid of the same extent with at least `factor` times as many pixels a side."""
        fine = padded_box(self.box, factor)
        ratio = self.box / fine
        if isinstance(self.pixel_size, jax.core.Tracer):
            return ImageGrid(fine, self.pixel_size * ratio)
        return ImageGrid(fine, np.asarray(self.pixel_size) * ratio)

"""The half-space Fourier grid that slices are read from and images are inserted into.

Layout: a flat table `(voxels, channels)` of the points kx ≥ 0 with real and imaginary part as
channels, sections kz and rows ky ascending through zero. A few guard points around the box hold
copies (periodic and Friedel images), so no interpolation window ever leaves the table.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from vitreous.geometry.fourier import half_space
from vitreous.geometry.shift import crop_centered
from vitreous.imaging.interpolation import GUARD, Kernel, kernel_transform


class GridShape(NamedTuple):
    """Say where frequencies lie in the flat table of a box of side `box`.

    Frequency `(kx, ky, kz)` stands at `((kz + offset_z) · rows + ky + offset_z) · columns + kx +
    guard` with `offset_z = box // 2 + 1 + guard`.
    """

    box: int
    guard: int

    @property
    def half(self) -> int:
        """Largest frequency, `box // 2`."""
        return self.box // 2

    @property
    def offset(self) -> int:
        """Index of frequency 0 along sections and rows."""
        return self.half + 1 + self.guard

    @property
    def rows(self) -> int:
        """Number of sections, and of rows."""
        return 2 * self.offset + 1

    @property
    def columns(self) -> int:
        """Number of columns, kx = −guard … box//2 + 1 + guard."""
        return self.half + 2 + 2 * self.guard

    @property
    def voxels(self) -> int:
        """Length of the table."""
        return self.rows * self.rows * self.columns


class FourierGrid(eqx.Module):
    """Hold the Fourier transform of a volume, ready to be sliced.

    **Fields:** `values`: the table `(voxels, 2)`. `box`: side of the volume. `shape`: layout of
    the (padded) table. `kernel`: interpolation the volume was compensated for.
    """

    values: Float[Array, "v 2"]
    box: int = eqx.field(static=True)
    shape: GridShape = eqx.field(static=True)
    kernel: Kernel = eqx.field(static=True)


def _mate(half: Float[Array, "n n h c"], columns: np.ndarray) -> Float[Array, "n n m c"]:
    """Return the Friedel mates of some columns: `F(−k)*`."""
    n = half.shape[0]
    negative = (-np.arange(n)) % n
    picked = half[:, :, columns][negative][:, negative]
    sign = np.array([1, -1], np.float32).repeat(half.shape[-1] // 2)
    return picked * jnp.asarray(sign, half.dtype)[None, None, None]


def guarded_table(half: Float[Array, "n n h c"], shape: GridShape) -> Float[Array, "v c"]:
    """Lay a half space (rfft order; real parts, then imaginary parts as channels) into the table.

    The operation copies and changes signs only, so it is linear; `fold_table` is its transpose.
    """
    n, g = shape.box, shape.guard
    left = _mate(half, np.arange(g, 0, -1))
    right = _mate(half, n - np.arange(shape.half + 1, shape.half + 2 + g))
    wide = jnp.concatenate([left, half, right], axis=2)
    order = np.arange(-shape.offset, shape.offset + 1) % n
    return wide[order][:, order].reshape(shape.voxels, half.shape[-1])


def fold_table(table: Float[Array, "v c"], shape: GridShape) -> Float[Array, "n n h c"]:
    """Gather sums inserted into the table back into a half space (the transpose).

    Points on self-conjugate columns also receive what was inserted at their mates, so the result
    is what inserting every datum and its mate into the whole space would have given.
    """
    n, c = shape.box, table.shape[-1]
    like = jax.ShapeDtypeStruct((n, n, shape.half + 1, c), table.dtype)
    (half,) = jax.linear_transpose(lambda x: guarded_table(x, shape), like)(table)
    own = np.array([0] if n % 2 else [0, n // 2])
    return half.at[:, :, own].add(_mate(half, own))


def padded_box(box: int, padding: float) -> int:
    """Choose a box of about `padding · box` whose FFT is fast; `box` itself for `padding = 1`."""
    if padding < 1:
        raise ValueError(f"padding must be at least 1, not {padding}")
    if padding == 1:
        return box
    from scipy.fft import next_fast_len  # takes a tenth of a second to import, seldom needed

    return next_fast_len(int(np.ceil(box * padding - 1e-9)))


def kernel_correction(box: int, padded: int, kernel: Kernel, keep_corners: bool) -> np.ndarray:
    """Return the real-space factor that undoes the interpolation kernel.

    Outside the inscribed sphere it is 0 unless `keep_corners`: there it would amplify whatever
    the corners hold, 225-fold for the cubic kernel without padding.
    """
    x = np.arange(box) - box // 2
    axis = 1 / kernel_transform(x / padded, kernel)
    factor = axis[:, None, None] * axis[None, :, None] * axis[None, None, :]
    if not keep_corners:
        factor = np.where(inscribed_sphere(box), factor, 0.0)
    return factor.astype(np.float32)


def inscribed_sphere(box: int) -> np.ndarray:
    """Mark the voxels at most half a box from the centre, bool `(n, n, n)`."""
    square = (np.arange(box) - box // 2.0) ** 2
    radius = square[:, None, None] + square[None, :, None] + square[None, None, :]
    return radius <= (box / 2) ** 2


def volume_to_grid(
    volume: Float[Array, "n n n"],
    padding: float = 1.0,
    kernel: Kernel = "linear",
    keep_corners: bool = False,
) -> FourierGrid:
    """Transform a volume into a Fourier grid, compensated for the interpolation to come.

    **Arguments:** `volume`: `(z, y, x)`. `padding`: zero-padding factor, at least 1. `kernel`:
    `"linear"` (2³ points), `"cubic"` (B-spline, 4³ points; without padding 20 times as exact as
    linear) or `"kaiser"` (Kaiser–Bessel, 4³ points; four times as exact as cubic). `keep_corners`:
    keep density outside the inscribed sphere.
    """
    box = volume.shape[0]
    padded = padded_box(box, padding)
    correction = jnp.asarray(kernel_correction(box, padded, kernel, keep_corners), volume.dtype)
    transform = half_space(crop_centered(volume * correction, padded, 3))
    shape = GridShape(padded, GUARD[kernel])
    table = guarded_table(jnp.stack([transform.real, transform.imag], axis=-1), shape)
    return FourierGrid(table, box, shape, kernel)


def half_space_of_grid(grid: FourierGrid) -> Complex[Array, "n n h"]:
    """Return the stored half space in rfft order."""
    shape = grid.shape
    table = grid.values.reshape(shape.rows, shape.rows, shape.columns, 2)
    order = np.fft.ifftshift(np.arange(shape.box) - shape.box // 2) + shape.offset
    inner = table[order][:, order][:, :, shape.guard : shape.guard + shape.half + 1]
    return jax.lax.complex(inner[..., 0], inner[..., 1])

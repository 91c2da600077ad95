"""Central slices of a Fourier grid, and the interpolation weights they share with insertion.

`F_image(k) = F_volume(Rᵀ (kx, ky, 0))`. A frequency with kx < 0 is read at its Friedel mate and
conjugated.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float, Int

from vitreous.imaging.fourier_grid import GUARD, FourierGrid, GridShape


class Window(NamedTuple):
    """Say which table entries an interpolated value is the weighted sum of.

    **Fields:** `entry`: rows of the table. `weight`: their weights, 0 outside the box.
    `conjugate`: whether the value is the conjugate of that sum.
    """

    entry: Int[Array, "... w"]
    weight: Float[Array, "... w"]
    conjugate: Bool[Array, "..."]


def rotated_frequencies(
    rotation: Float[Array, "... 3 3"], frequency: Float[Array, "p 2"]
) -> Float[Array, "... p 3"]:
    """Return `Rᵀ (kx, ky, 0)` for every rotation and frequency."""
    f = frequency.reshape(*(1,) * (rotation.ndim - 2), *frequency.shape)
    # Written out: a matrix product could run in reduced precision on an accelerator.
    return f[..., 0:1] * rotation[..., None, 0, :] + f[..., 1:2] * rotation[..., None, 1, :]


def _fold(coordinates: Float[Array, "... 3"], shape: GridShape):
    """Move kx < 0 to the mate; return whole parts, fractions, and two flags a sample."""
    conjugate = coordinates[..., 0] < 0
    folded = jnp.where(conjugate[..., None], -coordinates, coordinates)
    # The slack forgives the rounding of a rotation at the edge of the box.
    inside = jnp.all(jnp.abs(folded) <= shape.half + 1e-3, axis=-1)
    whole = jnp.clip(jnp.floor(jax.lax.stop_gradient(folded)), -shape.half - 1, shape.half)
    return whole.astype(jnp.int32), folded - whole, inside, conjugate


def _combine(whole, axis_weights, inside, conjugate, shape: GridShape) -> Window:
    """Multiply per-axis weights, lists of `taps` arrays for x, y, z, into a window."""
    taps = len(axis_weights[0])
    first = -(taps // 2 - 1)
    base = (
        (whole[..., 2] + shape.offset) * shape.rows + whole[..., 1] + shape.offset
    ) * shape.columns + (whole[..., 0] + shape.guard)
    offsets, weights = [], []
    for k in range(taps):
        for j in range(taps):
            yz = jnp.where(inside, axis_weights[2][k] * axis_weights[1][j], 0)
            for i in range(taps):
                offsets.append(((k + first) * shape.rows + j + first) * shape.columns + i + first)
                weights.append(yz * axis_weights[0][i])
    offset = jnp.asarray(np.array(offsets, np.int32)).reshape(*(1,) * base.ndim, -1)
    return Window(base[..., None] + offset, jnp.stack(weights, axis=-1), conjugate)


def trilinear_corners(coordinates: Float[Array, "... 3"], shape: GridShape) -> Window:
    """Find the eight table entries around each frequency and their trilinear weights.

    **Arguments:** `coordinates`: `(kx, ky, kz)` in cycles per (padded) box. `shape`: layout of
    the table.

    **Returns:** a window of 8 entries. Reading sums `weight · table[entry]` and conjugates;
    inserting conjugates and adds `weight · value` to `table[entry]`: the two are adjoint.
    """
    whole, t, inside, conjugate = _fold(coordinates, shape)
    axis_weights = [[1 - t[..., a], t[..., a]] for a in range(3)]
    return _combine(whole, axis_weights, inside, conjugate, shape)


def cubic_window(coordinates: Float[Array, "... 3"], shape: GridShape) -> Window:
    """Find the 64 table entries and cubic B-spline weights of each frequency."""
    whole, t, inside, conjugate = _fold(coordinates, shape)

    def spline(t):
        s = 1 - t
        return [
            s * s * s / 6,
            (4 - 3 * t * t * (1 + s)) / 6,
            (4 - 3 * s * s * (1 + t)) / 6,
            t * t * t / 6,
        ]

    return _combine(whole, [spline(t[..., a]) for a in range(3)], inside, conjugate, shape)


def read_window(table: Float[Array, "v 2"], window: Window) -> Complex[Array, "..."]:
    """Interpolate: the weighted sum of the window's entries."""
    total = jnp.sum(table[window.entry] * window.weight[..., None], axis=-2)
    imaginary = jnp.where(window.conjugate, -total[..., 1], total[..., 1])
    return jax.lax.complex(total[..., 0], imaginary)


def insert_window(
    table: Float[Array, "v 2"], window: Window, values: Complex[Array, "..."]
) -> Float[Array, "v 2"]:
    """Add values to the table through the window: the adjoint of `read_window`."""
    imaginary = jnp.where(window.conjugate, -values.imag, values.imag)
    channels = jnp.stack([values.real, imaginary], axis=-1)[..., None, :]
    return table.at[window.entry].add(channels * window.weight[..., None])


def slice_grid(
    grid: FourierGrid, rotation: Float[Array, "b 3 3"], frequency: Float[Array, "p 2"]
) -> Complex[Array, "b p"]:
    """Cut central slices out of a grid.

    **Arguments:** `rotation`: volume to image. `frequency`: `(kx, ky)` in cycles/box of the
    unpadded volume.

    **Returns:** the transforms of the projections `Σ_z`, centred phases, shape `(b, p)`; 0 where
    the rotated frequency leaves the box. Differentiable in the grid and the rotation.
    """
    scale = grid.shape.box / grid.box
    coordinates = rotated_frequencies(rotation, frequency * scale)
    find = trilinear_corners if grid.kernel == "linear" else cubic_window
    assert grid.shape.guard >= GUARD[grid.kernel]
    return read_window(grid.values, find(coordinates, grid.shape))

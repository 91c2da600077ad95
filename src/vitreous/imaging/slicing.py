"""Central slices of a Fourier grid, and the interpolation windows they share with insertion.

`F_image(k) = F_volume(Rᵀ (kx, ky, 0))`. A frequency with kx < 0 is read at its Friedel mate and
conjugated. Every window entry is its own flat gather of `(re, im)` pairs: XLA fuses these into one
loop that keeps nothing, several times faster than one gather of all entries.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Complex, Float, Int

from vitreous.imaging.fourier_grid import FourierGrid, GridShape
from vitreous.imaging.interpolation import Kernel, axis_weights


class Window(NamedTuple):
    """Say which table entries an interpolated value is the weighted sum of.

    **Fields:** `entries`: rows of the table, one array of the samples' shape for each of the 8 or
    64 points. `weights`: as many weights, 0 outside the box. `conjugate`: whether the value is the
    conjugate of that sum.
    """

    entries: tuple[Int[Array, "..."], ...]
    weights: tuple[Float[Array, "..."], ...]
    conjugate: Bool[Array, "..."]


def rotated_frequencies(
    rotation: Float[Array, "... 3 3"], frequency: Float[Array, "p 2"]
) -> Float[Array, "... p 3"]:
    """Return `Rᵀ (kx, ky, 0)` for every rotation and frequency."""
    f = frequency.reshape(*(1,) * (rotation.ndim - 2), *frequency.shape)
    # Written out: a matrix product could run in reduced precision on an accelerator.
    return f[..., 0:1] * rotation[..., None, 0, :] + f[..., 1:2] * rotation[..., None, 1, :]


def interpolation_window(
    coordinates: Float[Array, "... 3"], shape: GridShape, kernel: Kernel
) -> Window:
    """Find the 8 or 64 table entries around each frequency and their weights.

    **Arguments:** `coordinates`: `(kx, ky, kz)` in cycles per (padded) box. `shape`: layout of
    the table.

    **Returns:** Reading sums `weight · table[entry]`, then conjugates where told; inserting
    conjugates, then adds `weight · value` to `table[entry]`: the two are adjoint.
    """
    conjugate = coordinates[..., 0] < 0
    folded = jnp.where(conjugate[..., None], -coordinates, coordinates)
    # Odd boxes reach half a shell beyond their last point; the slack forgives rounding.
    inside = jnp.all(jnp.abs(folded) <= shape.box / 2 + 1e-3, axis=-1)
    # Entries are promised to lie in the table, so a frequency outside, or NaN, must not name one.
    lower = jax.lax.stop_gradient(jnp.where(inside[..., None], jnp.floor(folded), 0))
    x, y, z = (axis_weights(folded[..., i] - lower[..., i], kernel) for i in range(3))
    whole = lower.astype(jnp.int32)
    base = (whole[..., 2] + shape.offset) * shape.rows + whole[..., 1] + shape.offset
    base = base * shape.columns + whole[..., 0] + shape.guard

    taps = range(len(x))
    first = 1 - len(x) // 2
    entries, weights = [], []
    for k in taps:
        for j in taps:
            rest = jnp.where(inside, z[k] * y[j], 0)
            for i in taps:
                step = ((k + first) * shape.rows + j + first) * shape.columns + i + first
                entries.append(base + step)
                weights.append(rest * x[i])
    return Window(tuple(entries), tuple(weights), conjugate)


def trilinear_corners(coordinates: Float[Array, "... 3"], shape: GridShape) -> Window:
    """Find the eight table entries around each frequency and their trilinear weights."""
    return interpolation_window(coordinates, shape, "linear")


def read_window(table: Float[Array, "v 2"], window: Window) -> Complex[Array, "..."]:
    """Interpolate: the weighted sum of the window's entries."""
    total = jnp.zeros((*window.conjugate.shape, 2), table.dtype)
    for entry, weight in zip(window.entries, window.weights, strict=True):
        total += table.at[entry].get(mode="promise_in_bounds") * weight[..., None]
    imaginary = jnp.where(window.conjugate, -total[..., 1], total[..., 1])
    return jax.lax.complex(total[..., 0], imaginary)


def read_windows(table: Float[Array, "v c"], window: Window) -> Complex[Array, "... k"]:
    """Interpolate `k` grids at once; the table holds all real parts, then all imaginary parts."""
    count = table.shape[-1] // 2
    total = jnp.zeros((*window.conjugate.shape, 2 * count), table.dtype)
    for entry, weight in zip(window.entries, window.weights, strict=True):
        total += table.at[entry].get(mode="promise_in_bounds") * weight[..., None]
    mate = window.conjugate[..., None]
    imaginary = jnp.where(mate, -total[..., count:], total[..., count:])
    return jax.lax.complex(total[..., :count], imaginary)


def insert_window(
    table: Float[Array, "v 2"], window: Window, values: Complex[Array, "..."]
) -> Float[Array, "v 2"]:
    """Add values to the table through the window: the adjoint of `read_window`."""
    imaginary = jnp.where(window.conjugate, -values.imag, values.imag)
    channels = jnp.stack([values.real, imaginary], axis=-1)
    added = channels[None] * jnp.stack(window.weights)[..., None]
    return table.at[jnp.stack(window.entries)].add(added, mode="promise_in_bounds")


def sample_grid(
    grid: FourierGrid,
    coordinates: Float[Array, "... p 3"],
    state: Int[Array, "..."] | None = None,
) -> Complex[Array, "... p"]:
    """Interpolate a grid at any frequencies.

    **Arguments:** `coordinates`: `(kx, ky, kz)` in cycles per padded box. `state`: if the grid
    holds several volumes, their tables one after the other, which of them each batch entry reads.

    **Returns:** the transform of the volume, 0 outside the box.
    """
    window = interpolation_window(coordinates, grid.shape, grid.kernel)
    if state is not None:
        first = (state * grid.shape.voxels)[..., None]
        entries = tuple(entry + first for entry in window.entries)
        window = window._replace(entries=entries)
    return read_window(grid.values, window)


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
    return sample_grid(grid, rotated_frequencies(rotation, frequency * scale))

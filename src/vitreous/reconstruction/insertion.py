"""Insert image slices into a Fourier grid: the scatter that every reconstruction shares.

Sums live in a *paired table*: the two corners that differ by one step along kx are neighbours in
memory, so one row of the table holds what falls on a voxel and on its right neighbour. That
halves the number of scattered rows; `read_sums` puts the pairs together again.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float, Int

from vitreous.imaging.fourier_grid import GridShape, fold_table
from vitreous.imaging.slicing import trilinear_corners


class SliceSums(NamedTuple):
    """Hold what slices added up to on a half space (rfft order), for each group of images.

    **Fields:** `numerator`: sums of `interpolation weight · value`, for each of `k` complex
    values. `weight`: sums of `interpolation weight · weight`, for each of `m` real weights.
    """

    numerator: Complex[Array, "g k n n h"]
    weight: Float[Array, "g m n n h"]


def empty_table(
    shape: GridShape, groups: int = 1, values: int = 1, weights: int = 1
) -> Float[Array, "rows channels"]:
    """Make a paired table of zeros for `groups` separate sums on grids of one shape."""
    return jnp.zeros((groups * shape.voxels, 2 * (2 * values + weights)), jnp.float32)


def insert_slices(
    table: Float[Array, "rows channels"],
    coordinates: Float[Array, "b p 3"],
    values: Complex[Array, "b p k"],
    weights: Float[Array, "b p m"],
    group: Int[Array, " b"],
    shape: GridShape,
) -> Float[Array, "rows channels"]:
    """Add samples of Fourier space to the table with trilinear weights.

    **Arguments:** `coordinates`: `(kx, ky, kz)` of each sample in cycles per box of `shape`;
    samples outside the box are dropped, those with kx < 0 go to their Friedel mates. `values` and
    `weights`: what is added up. `group`: which of the table's sums an image belongs to.

    **Returns:** the table with the samples added. Under `jit`, donate the table.
    """
    window = trilinear_corners(coordinates, shape)
    mate = window.conjugate[..., None]
    imaginary = jnp.where(mate, -values.imag, values.imag)
    channels = jnp.concatenate([values.real, weights, imaginary], axis=-1)
    offset = shape.voxels * group[:, None]
    # One product a row: on CPU four times as fast as joining the products of both neighbours.
    paired = jnp.concatenate([channels, channels], axis=-1)
    is_left = jnp.arange(table.shape[-1])[None, None] < channels.shape[-1]
    # Entries come with kx fastest: every other one has its right neighbour just behind it.
    lefts = zip(window.entries[::2], window.weights[::2], window.weights[1::2], strict=True)
    for entry, left, right in lefts:
        added = paired * jnp.where(is_left, left[..., None], right[..., None])
        table = table.at[entry + offset].add(added, mode="promise_in_bounds")
    return table


def read_sums(table: Float[Array, "rows channels"], shape: GridShape, values: int = 1) -> SliceSums:
    """Turn a table into sums on the half space, mates on self-conjugate columns included.

    **Arguments:** `values`: number of complex values `k` the table was made for.
    """
    channels = table.shape[-1] // 2
    reals = channels - values
    paired = table.reshape(-1, shape.voxels, 2, channels)
    single = paired[:, :, 0] + jnp.roll(paired[:, :, 1], 1, axis=1)
    groups = len(single)
    # Folding wants real parts, then as many imaginary parts; that of a weight is zero.
    real = jnp.moveaxis(single[..., :reals], 0, 1).reshape(shape.voxels, -1)
    imaginary = jnp.pad(single[..., reals:], ((0, 0), (0, 0), (0, reals - values)))
    imaginary = jnp.moveaxis(imaginary, 0, 1).reshape(shape.voxels, -1)
    half = fold_table(jnp.concatenate([real, imaginary], axis=-1), shape)
    half = jnp.moveaxis(half, -1, 0).reshape(2, groups, reals, *half.shape[:-1])
    numerator = jax.lax.complex(half[0, :, :values], half[1, :, :values])
    return SliceSums(numerator, half[0, :, values:])

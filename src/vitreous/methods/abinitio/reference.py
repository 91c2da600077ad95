"""What images are compared with: one map a class, ready to be sliced, and how it is made anew."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int

from vitreous.geometry.fourier import coordinates, half_space, volume_from_half_space
from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.geometry.shells import shell_index
from vitreous.imaging.fourier_grid import FourierGrid, GridShape, volume_to_grid
from vitreous.imaging.slicing import rotated_frequencies, slice_grid
from vitreous.reconstruction.insertion import empty_table, insert_slices, read_sums
from vitreous.reconstruction.masks import mask_from_map
from vitreous.reconstruction.regularisation import divide, map_from_transform, shell_mean

# Slices inserted at a time.
_PIECE = 256
# Least share of a shell's power that counts as signal.
_LEAST_SIGNAL = 0.05
# Of a map's highest density: what belongs to the particle.
_MASK_LEVEL = 0.2


class MapSums(NamedTuple):
    """Hold numerator and weight of each class on a half space."""

    numerator: Complex[Array, "k n n h"]
    weight: Float[Array, "k n n h"]


def references_grid(volumes: Float[Array, "k n n n"], padding: float = 2.0) -> FourierGrid:
    """Transform maps into one grid, their tables one behind the other."""
    grids = [volume_to_grid(volume, padding) for volume in volumes]
    values = jnp.concatenate([grid.values for grid in grids])
    return FourierGrid(values, grids[0].box, grids[0].shape, grids[0].kernel)


@partial(jax.jit, static_argnames=("pixels", "count"))
def slices_of(
    volumes: Float[Array, "k n n n"],
    rotation: Float[Array, "q 3 3"],
    pixels: FourierPixels,
    count: int,
) -> Complex[Array, "kq p"]:
    """Cut all maps at all rotations, class by class."""
    frequency = jnp.asarray(pixels.frequency[:count])
    cut = [slice_grid(volume_to_grid(volume), rotation, frequency) for volume in volumes]
    return jnp.concatenate(cut)


def add_slices(
    table: Float[Array, "rows channels"],
    rotation: Float[Array, "q 3 3"],
    numerator: Complex[Array, "q p"],
    weight: Float[Array, "q p"],
    group: Int[Array, " q"],
    pixels: FourierPixels,
) -> Float[Array, "rows channels"]:
    """Insert sums of weighed images; a pixel and its mate count once between them."""
    count = numerator.shape[-1]
    at = rotated_frequencies(rotation, jnp.asarray(pixels.frequency[:count]))
    shape = GridShape(pixels.box, 0)
    return insert_slices(
        table, at, 0.5 * numerator[..., None], 0.5 * weight[..., None], group, shape
    )


@partial(jax.jit, static_argnames=("pixels", "classes"))
def sums_of_slices(
    rotation: Float[Array, "q 3 3"],
    numerator: Float[Array, "cq pp"],
    weight: Float[Array, "cq p"],
    pixels: FourierPixels,
    classes: int,
) -> MapSums:
    """Bring what images added to tried slices together in each class's map."""
    q, count = len(rotation), weight.shape[-1]
    piece = min(_PIECE, q)
    pieces = -(-q // piece)

    def fold(leaf: Array) -> Array:
        by_class = leaf.reshape(classes, q, *leaf.shape[1:])
        full = jnp.pad(by_class, [(0, 0), (0, pieces * piece - q)] + [(0, 0)] * (leaf.ndim - 1))
        return full.reshape(classes * pieces, piece, *leaf.shape[1:])

    turned = jnp.tile(rotation, (classes, 1, 1))
    group = jnp.repeat(jnp.arange(classes, dtype=jnp.int32), pieces)

    def add(table, part):
        rotation, planes, weight, group = part
        numerator = jax.lax.complex(planes[:, :count], planes[:, count:])
        everyone = jnp.full(piece, group)
        return add_slices(table, rotation, numerator, weight, everyone, pixels), None

    table = empty_table(GridShape(pixels.box, 0), classes)
    parts = (fold(turned), fold(numerator), fold(weight), group)
    table, _ = jax.lax.scan(add, table, parts)
    return sums_of_table(table, pixels.box)


def sums_of_table(table: Float[Array, "rows channels"], box: int) -> MapSums:
    """Read the sums of every class."""
    sums = read_sums(table, GridShape(box, 0))
    return MapSums(sums.numerator[:, 0], sums.weight[:, 0])


@partial(jax.jit, static_argnames="shells")
def maps_by_power(
    sums: MapSums, mask: Float[Array, "n n n"], shells: int
) -> Float[Array, "k n n n"]:
    """Divide with a Wiener filter whose signal power comes from the map itself.

    The power of a shell less that of its noise, the mean of 1 / weight, is signal.
    """

    def one(numerator, weight):
        mean = shell_mean(weight, shells)
        rough = divide(numerator, weight, 0.02 * mean)
        power = shell_mean(rough.real**2 + rough.imag**2, shells)
        signal = power - 1 / jnp.maximum(mean, 1e-12)
        signal = jnp.maximum(signal, _LEAST_SIGNAL * power)
        # Shell 0 holds no datum; it is as smooth as the next.
        penalty = 1 / jnp.maximum(signal.at[0].set(signal[1]), 1e-12)
        return map_from_transform(divide(numerator, weight, penalty)) * mask

    return jnp.stack([one(*part) for part in zip(*sums, strict=True)])


@partial(jax.jit, static_argnames="shells")
def maps_by_fsc(
    sums: MapSums, fsc: Float[Array, " shells"], mask: Float[Array, "n n n"], shells: int
) -> Float[Array, "k n n n"]:
    """Divide the sums of a half set with the Wiener filter that the half maps' FSC implies."""
    curve = jnp.clip(fsc[:shells], 1e-3, 1 - 1e-3)

    def one(numerator, weight):
        penalty = shell_mean(weight, shells) * (1 - curve) / curve
        return map_from_transform(divide(numerator, weight, penalty)) * mask

    return jnp.stack([one(*part) for part in zip(*sums, strict=True)])


@partial(jax.jit, static_argnames="shells")
def maps_unfiltered(
    sums: MapSums, mask: Float[Array, "n n n"], shells: int
) -> Float[Array, "k n n n"]:
    """Divide with no more than the little that keeps empty voxels quiet."""

    def one(numerator, weight):
        penalty = 0.1 * shell_mean(weight, shells)
        return 1.1 * map_from_transform(divide(numerator, weight, penalty)) * mask

    return jnp.stack([one(*part) for part in zip(*sums, strict=True)])


def low_passed(volumes: Float[Array, "k n n n"], shell: int) -> Float[Array, "k n n n"]:
    """Keep the shells up to `shell` only."""
    box = volumes.shape[-1]
    keep = jnp.asarray(shell_index(box, 3, half=True) <= shell)
    transform = half_space(volumes)
    return volume_from_half_space(transform * keep[None].astype(transform.dtype), box)


def particle_mask(volume: Float[np.ndarray, "n n n"], shell: int) -> Float[np.ndarray, "n n n"]:
    """Follow the particle: what stands out of the map at low resolution, grown a little.

    Noise of the solvent would otherwise take part in every comparison.
    """
    smooth = np.asarray(low_passed(jnp.asarray(volume)[None], shell))[0]
    level = _MASK_LEVEL * float(np.percentile(smooth, 99.9))
    grown = 0.5 * volume.shape[0] / (2 * shell)
    return mask_from_map(smooth, 1.0, level, dilate=grown, soft_edge=2 * grown)


def centre_of_density(volume: Float[np.ndarray, "n n n"]) -> Float[np.ndarray, " 3"]:
    """Find the centre of what stands out of a map, bright or dark: `(x, y, z)`, voxels."""
    if ((volume - volume.mean()) ** 3).sum() < 0:
        volume = -volume
    level = max(2 * float(volume.std()), 0.2 * float(volume.max()))
    above = np.clip(volume - level, 0, None)
    total = above.sum()
    if total <= 0:
        return np.zeros(3)
    where = coordinates(volume.shape[0], 3)
    return (above[..., None] * where).reshape(-1, 3).sum(axis=0) / total

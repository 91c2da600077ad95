"""Put maps of different boxes, voxel sizes and origins on one lattice, and cut it to what matters.

Positions are Å of the laboratory frame: the first voxel lies at the header's origin. Where no map
has an origin, maps of different boxes share their centre, voxel `n // 2`.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import scipy.ndimage
from jaxtyping import Float

from vitreous.errors import InputError
from vitreous.maps import Map


def place_together(maps: Sequence[Map]) -> list[Map]:
    """Give maps without origins the ones that bring their centres together with the first's."""
    if any(any(m.origin) for m in maps):
        return list(maps)
    first = _centre(maps[0])
    placed = [maps[0]]
    for other in maps[1:]:
        x, y, z = (float(v) for v in first - _centre(other))
        placed.append(replace(other, origin=(x, y, z)))
    return placed


def _centre(a_map: Map) -> Float[np.ndarray, " 3"]:
    return np.array([n // 2 for n in a_map.data.shape[::-1]]) * a_map.voxel_size


def centre_of_box(a_map: Map) -> Float[np.ndarray, " 3"]:
    """Give the position `(x, y, z)` in Å of voxel `n // 2`."""
    return _centre(a_map) + np.asarray(a_map.origin)


def is_same_lattice(first: Map, second: Map) -> bool:
    """Say whether voxels of one map coincide with those of the other."""
    return (
        first.data.shape == second.data.shape
        and abs(first.voxel_size - second.voxel_size) < 1e-4 * first.voxel_size
        and np.allclose(first.origin, second.origin, atol=1e-2 * first.voxel_size)
    )


def resample_like(a_map: Map, lattice: Map) -> Map:
    """Read a map on another lattice by cubic interpolation, zero outside its box.

    A map with finer voxels is first blurred to what the lattice can hold.
    """
    if is_same_lattice(a_map, lattice):
        return replace(a_map, origin=lattice.origin)
    data, ratio = a_map.data, lattice.voxel_size / a_map.voxel_size
    if ratio > 1.05:
        # Together with the cubic kernel about the blur of a voxel of the lattice.
        data = scipy.ndimage.gaussian_filter(data, 0.4 * np.sqrt(ratio**2 - 1), mode="constant")
    start = (np.asarray(lattice.origin) - np.asarray(a_map.origin)) / a_map.voxel_size
    out = scipy.ndimage.affine_transform(
        data,
        np.full(3, ratio),
        offset=start[::-1],
        output_shape=lattice.data.shape,
        order=3,
        mode="constant",
        prefilter=True,
    )
    return Map(out.astype(np.float32), lattice.voxel_size, lattice.origin)


def cover(lattice: Map, others: Sequence[Map], margin: float) -> Map:
    """Extend or cut a map's lattice to what is above zero in it and in others, and a margin.

    **Arguments:** `margin` in Å. Voxels of the result coincide with the first map's.

    **Raises:** `ValueError` if nothing is above zero anywhere.
    """
    boxes = [support_box(m) for m in (lattice, *others) if (m.data > 0).any()]
    low = np.min([b[0] for b in boxes], axis=0) - margin
    high = np.max([b[1] for b in boxes], axis=0) + margin
    origin, voxel = np.asarray(lattice.origin), lattice.voxel_size
    first = np.floor((low - origin) / voxel).astype(int)
    last = np.ceil((high - origin) / voxel).astype(int)
    data = np.zeros((last - first + 1)[::-1], np.float32)
    n = np.array(lattice.data.shape[::-1])
    start, stop = np.maximum(first, 0), np.minimum(last + 1, n)
    if (stop > start).all():
        source = tuple(slice(a, b) for a, b in zip(start[::-1], stop[::-1], strict=True))
        shift = (start - first)[::-1]
        place = tuple(
            slice(s, s + b - a) for s, a, b in zip(shift, start[::-1], stop[::-1], strict=True)
        )
        data[place] = lattice.data[source]
    x, y, z = (float(v) for v in origin + first * voxel)
    return Map(data, voxel, (x, y, z))


def support_box(a_map: Map) -> tuple[Float[np.ndarray, " 3"], Float[np.ndarray, " 3"]]:
    """Give the lowest and highest positions (Å) of voxels above zero."""
    index = np.argwhere(a_map.data > 0)[:, ::-1]
    origin = np.asarray(a_map.origin)
    return origin + index.min(0) * a_map.voxel_size, origin + index.max(0) * a_map.voxel_size


def bin_map(a_map: Map, factor: int) -> Map:
    """Average blocks of `factor³` voxels; a ragged end is filled up with zeros."""
    if factor == 1:
        return a_map
    missing = [(0, -n % factor) for n in a_map.data.shape]
    data = np.pad(a_map.data, missing)
    z, y, x = (n // factor for n in data.shape)
    blocks = data.reshape(z, factor, y, factor, x, factor).mean(axis=(1, 3, 5))
    inset = (factor - 1) / 2 * a_map.voxel_size
    ox, oy, oz = (float(o + inset) for o in a_map.origin)
    return Map(blocks.astype(np.float32), a_map.voxel_size * factor, (ox, oy, oz))


def to_cube(data: Float[np.ndarray, "z y x"]) -> Float[np.ndarray, "n n n"]:
    """Fill a box up with zeros to an even cube, for Fourier shells."""
    n = max(data.shape) + max(data.shape) % 2
    return np.pad(data, [(0, n - side) for side in data.shape])


def require_overlap(first: Map, second: Map, names: tuple[str, str]) -> None:
    """Refuse maps whose densities lie apart.

    **Raises:** `InputError` if the boxes around what is above zero do not meet.
    """
    (low_a, high_a), (low_b, high_b) = support_box(first), support_box(second)
    gap = float(np.max(np.maximum(low_a - high_b, low_b - high_a)))
    if gap > 0:
        raise InputError(
            f"{names[0]} and {names[1]} do not overlap: their densities lie {gap:.0f} Å apart; "
            "align them first, and check the origins in their headers"
        )

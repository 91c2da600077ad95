"""Read images in chunks and add up what the voxels of a support see in them.

What is added up is the difference between where voxels lie in an image and where they would lie
at rest: beside plain backprojection, of which every step is exact, only the motion is interpolated,
and a field of zeros changes nothing at all.
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import zip_longest
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from vitreous.geometry.fourier import half_plane, half_space
from vitreous.imaging.fourier_grid import kernel_correction
from vitreous.particles.prepare import ImageReader
from vitreous.particles.processes import own_share, sum_over_devices
from vitreous.reconstruction.backprojection import Geometry, Slices, centred_pixels
from vitreous.reconstruction.deformed.fields import Block, FieldOnSupport, MovedImages
from vitreous.reconstruction.deformed.gather import (
    FINER,
    corner_table,
    fine_images,
    read_at,
    seen_at,
)
from vitreous.reconstruction.streaming import ImageColumns

# Numbers of moved voxels, and pixels of finer images, worked on at a time.
_NUMBERS_PER_CHUNK = {"cpu": 8_000_000}
_NUMBERS_PER_CHUNK_DEFAULT = 128_000_000


class MovedSums(NamedTuple):
    """Hold sums over images for the voxels of a support.

    **Fields:** `difference`: of the images where the voxels lie and where they would rest.
    `square`: of how far they moved, Å².
    """

    difference: Float[np.ndarray, " m"]
    square: Float[np.ndarray, " m"]


class Chunk(NamedTuple):
    """Hold a fixed number of images on the device, and what is known of them.

    **Fields:** `pixels`: centred, shifts undone. `transfer`: of each pixel. `weight`: 0 for images
    that only fill the chunk up. `code`: what a field mixes its modes by.
    """

    pixels: Complex[Array, "b p"]
    transfer: Float[Array, "b p"]
    rotation: Float[Array, "b 3 3"]
    pixel_size: Float[Array, " b"]
    weight: Float[Array, " b"]
    code: Float[Array, "b c"]


def chunk_of(geometry: Geometry, block: int, platform: str) -> int:
    """Choose how many images to work on at a time."""
    limit = _NUMBERS_PER_CHUNK.get(platform, _NUMBERS_PER_CHUNK_DEFAULT)
    return int(np.clip(limit // (3 * block + 6 * geometry.box**2 * FINER**2), 1, 64))


def read_chunks(
    source: ImageReader,
    columns: ImageColumns,
    moved: MovedImages,
    code: Float[np.ndarray, "n c"],
    geometry: Geometry,
    chunk: int,
    progress: Callable[[int], object] | None = None,
    device: jax.Device | None = None,
) -> Iterator[Chunk]:
    """Read the images of a half set, a chunk at a time.

    **Arguments:** `columns`: of the whole table, of which `moved.rows` are read. `progress`:
    called with the number of images just done. `device`: where chunks go, None leaves it to JAX.
    """
    count = len(moved.rows)
    for start in range(0, count, chunk):
        index = np.minimum(np.arange(start, start + chunk), count - 1)
        inside = np.arange(start, start + chunk) < count
        rows = moved.rows[index]
        images = np.asarray(source.read(rows), np.float32)
        part = jax.tree.map(lambda leaf, rows=rows: _plain(np.asarray(leaf)[rows]), columns)
        part = part._replace(weight=part.weight * inside.astype(np.float32))
        yield _prepare(*jax.device_put((images, part, code[index]), device), geometry)
        if progress is not None:
            progress(int(inside.sum()))


def shared_chunks(
    source: ImageReader,
    columns: ImageColumns,
    moved: MovedImages,
    code: Float[np.ndarray, "n c"],
    geometry: Geometry,
    chunk: int,
    progress: Callable[[int], object] | None = None,
) -> Iterator[tuple[int, jax.Device | None, Chunk]]:
    """Read this process's share of a half set, a chunk for each of its devices in turn.

    **Returns:** with every chunk the number of the device, and the device where there are several.
    """
    devices = jax.local_devices() if len(jax.local_devices()) > 1 else [None]
    own = np.arange(len(moved.rows))[own_share(len(moved.rows))]
    readers = []
    for device, mine in zip(devices, np.array_split(own, len(devices)), strict=True):
        some = moved._replace(rows=moved.rows[mine], latents=moved.latents[mine])
        size = max(1, min(chunk, len(mine)))
        given = (source, columns, some, code[mine], geometry, size, progress, device)
        readers.append(read_chunks(*given))
    for chunks in zip_longest(*readers):
        for place, (device, part) in enumerate(zip(devices, chunks, strict=True)):
            if part is not None:
                yield place, device, part


@partial(jax.jit, static_argnames="geometry")
def _prepare(
    images: Float[Array, "b n n"],
    part: ImageColumns,
    code: Float[Array, "b c"],
    geometry: Geometry,
) -> Chunk:
    slices = Slices(geometry.pixels.gather(half_plane(images)), *part)  # type: ignore[arg-type]
    transfer, pixels = centred_pixels(slices, geometry)
    return Chunk(pixels, transfer, slices.rotation, slices.pixel_size, slices.weight, code)


def sum_moved(
    source: ImageReader,
    columns: ImageColumns,
    moved: MovedImages,
    field: FieldOnSupport,
    geometry: Geometry,
    chunk: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> MovedSums:
    """Add up, voxel by voxel, what the motion of a half set's images changes.

    Each device of each process goes through its share of the images.

    **Arguments:** `columns`: of the whole table. `chunk`: images at a time, by default by memory.
    """
    count = len(field.support.index)
    if count == 0:
        return MovedSums(np.zeros(0, np.float32), np.zeros(0, np.float32))
    blocks = len(field.starts)
    chunk = chunk or chunk_of(geometry, field.block, jax.default_backend())
    nothing = np.zeros((2, field.block), np.float32)
    totals = [[jnp.asarray(nothing) for _ in range(blocks)] for _ in jax.local_devices()]
    given = (source, columns, moved, field.code, geometry, chunk, progress)
    for place, device, part in shared_chunks(*given):
        fine = _filtered(part, geometry)
        for i in range(blocks):
            totals[place][i] = _add(totals[place][i], field.at(i, device), part, fine)
    joined = np.concatenate([np.asarray(x) for x in sum_over_devices(totals)], axis=1)
    return MovedSums(*joined[:, :count])


@partial(jax.jit, static_argnames="geometry")
def _filtered(part: Chunk, geometry: Geometry) -> Float[Array, "b f f"]:
    weighted = part.pixels * (part.transfer * part.weight[:, None]).astype(part.pixels.dtype)
    return fine_images(geometry.pixels.scatter(weighted))


@eqx.filter_jit
def _add(
    total: Float[Array, "2 v"], block: Block, part: Chunk, fine: Float[Array, "b f f"]
) -> Float[Array, "2 v"]:
    moves = block.displace(part.code)

    def add(total: Float[Array, "2 v"], one: tuple):
        image, rotation, pixel, weight, move = one
        table = corner_table(image)
        place = partial(seen_at, rotation, fine_pixel=pixel / FINER)
        seen = read_at(table, place(points=block.points + move))
        rest = read_at(table, place(points=block.points))
        return total + jnp.stack([seen - rest, weight * jnp.sum(move**2, axis=-1)]), None

    images = (fine, part.rotation, part.pixel_size, part.weight, moves)
    added, _ = jax.lax.scan(add, jnp.zeros_like(total), images)
    return total + added * jnp.stack([block.weight, jnp.ones_like(block.weight)])


def numerator_of(difference: Float[Array, "n n n"]) -> Complex[Array, "n n h"]:
    """Bring a sum over images in real space to the scale and the window of inserted slices."""
    box = difference.shape[0]
    undone = kernel_correction(box, box, "linear", keep_corners=False)
    window = np.where(undone > 0, 1 / np.where(undone > 0, undone, 1), 0).astype(np.float32)
    return half_space(difference * jnp.asarray(window / np.float32(box)))


def _plain(leaf: np.ndarray) -> np.ndarray:
    return leaf.astype(np.int32 if np.issubdtype(leaf.dtype, np.integer) else np.float32)

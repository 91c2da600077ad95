"""Read images in chunks and add them to Fourier sums, on one device or several.

The next chunk is read while the devices work on the last one. Each device keeps sums of its own,
added up at the end.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

from vitreous.geometry.fourier import half_plane
from vitreous.imaging.ctf import CTFParameters
from vitreous.particles.prepare import ImageReader
from vitreous.reconstruction.backprojection import (
    Geometry,
    Slices,
    expected_density,
    image_sums,
    insert_images,
)
from vitreous.reconstruction.density import SAMPLE
from vitreous.reconstruction.insertion import SliceSums, empty_table

# Fourier pixels worked on at a time: enough to keep a device busy, few enough to fit its caches.
_PIXELS_PER_CHUNK = {"cpu": 200_000}
_PIXELS_PER_CHUNK_DEFAULT = 8_000_000


class ImageColumns(NamedTuple):
    """Hold what is known of each image, NumPy arrays of `n` rows; see `Slices`."""

    rotation: Float[np.ndarray, "n 3 3"]
    shift: Float[np.ndarray, "n 2"]
    pixel_size: Float[np.ndarray, " n"]
    ctf: CTFParameters | None
    group: Int[np.ndarray, " n"]
    weight: Float[np.ndarray, " n"]
    dose: Float[np.ndarray, " n"] | None = None


def chunk_size(geometry: Geometry, devices: int, platform: str) -> int:
    """Choose how many images to work on at a time, a multiple of the number of devices."""
    pixels = _PIXELS_PER_CHUNK.get(platform, _PIXELS_PER_CHUNK_DEFAULT)
    return max(1, pixels // len(geometry.pixels)) * devices


@partial(jax.jit, static_argnames=("geometry", "mesh"), donate_argnums=0)
def _add_images(
    tables: Float[Array, "d rows channels"],
    images: Float[Array, "b n n"],
    columns: ImageColumns,
    density: Float[Array, " radii"],
    geometry: Geometry,
    mesh: Mesh,
) -> tuple[Float[Array, "d rows channels"], Float[Array, " d"]]:
    def local(tables, images, columns, density):
        pixels = geometry.pixels.gather(half_plane(images))
        slices = Slices(pixels, *columns)
        table = insert_images(tables[0], slices, density, geometry)
        return table[None], table[:1, 0]

    spread, whole = PartitionSpec(mesh.axis_names[0]), PartitionSpec()
    return jax.shard_map(
        local,
        mesh=mesh,
        in_specs=(spread, spread, spread, whole),
        out_specs=(spread, spread),
    )(tables, images, columns, density)


def sum_images(
    source: ImageReader,
    columns: ImageColumns,
    geometry: Geometry,
    *,
    rows: Int[np.ndarray, " n"] | None = None,
    groups: int = 2,
    mesh: Mesh | None = None,
    chunk: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> SliceSums:
    """Add all images of a source to the half-space sums of their groups.

    **Arguments:** `rows`: where in the source the image of each row of `columns` lies, by default
    in the same order. `mesh`: devices to share the images between, by default all. `chunk`:
    images at a time. `progress`: called with the number of images just done.
    """
    count = len(columns.weight)
    where = np.arange(count) if rows is None else np.asarray(rows)
    mesh = Mesh(np.array(jax.devices()), ("data",)) if mesh is None else mesh
    chunk = chunk or chunk_size(geometry, mesh.size, jax.default_backend())
    chunk = min(chunk, -(-count // mesh.size) * mesh.size)
    chunk = -(-chunk // mesh.size) * mesh.size
    spread = NamedSharding(mesh, PartitionSpec(mesh.axis_names[0]))

    shape = jax.eval_shape(lambda: empty_table(geometry.grid, groups)).shape
    tables = jnp.zeros((mesh.size, *shape), jnp.float32, device=spread)
    columns = jax.tree.map(lambda leaf: _device_type(np.asarray(leaf)), columns)
    sample = np.linspace(0, count - 1, min(count, SAMPLE)).astype(np.int64)
    some = jax.tree.map(lambda leaf: jnp.asarray(leaf[sample]), columns)
    density = _density(some, geometry)
    done = None
    for start in range(0, count, chunk):
        index = np.arange(start, min(start + chunk, count))
        images = np.asarray(source.read(where[index]), np.float32)
        # The last chunk is filled up with images of weight 0, so that all have one shape.
        padded = np.pad(index, (0, chunk - len(index)), mode="edge")
        if len(index) < chunk:
            images = np.pad(images, ((0, chunk - len(index)), (0, 0), (0, 0)))
        part = jax.tree.map(lambda leaf, take=padded: leaf[take], columns)
        part = part._replace(
            weight=part.weight * (np.arange(chunk) < len(index)).astype(np.float32)
        )
        images, part = jax.device_put((images, part), spread)
        if done is not None:
            # Never more than one chunk ahead of the devices: memory stays bounded.
            done.block_until_ready()
            if progress is not None:
                progress(chunk)
        tables, done = _add_images(tables, images, part, density, geometry, mesh)
    if progress is not None and done is not None:
        done.block_until_ready()
        progress(count - start)
    return _collect(tables, density, geometry)


@partial(jax.jit, static_argnames="geometry")
def _density(some: ImageColumns, geometry: Geometry) -> Float[Array, " radii"]:
    dose = None if some.dose is None else jnp.asarray(some.dose)
    return expected_density(jnp.asarray(some.pixel_size), some.ctf, dose, geometry)


@partial(jax.jit, static_argnames="geometry")
def _collect(
    tables: Float[Array, "d rows channels"], density: Float[Array, " radii"], geometry: Geometry
) -> SliceSums:
    return image_sums(tables.sum(axis=0), density, geometry)


def _device_type(leaf: np.ndarray) -> np.ndarray:
    return leaf.astype(np.int32 if np.issubdtype(leaf.dtype, np.integer) else np.float32)

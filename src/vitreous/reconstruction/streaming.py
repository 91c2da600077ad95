"""Read images in chunks and add them to Fourier sums, on one device or several.

The next chunk is read while the devices work on the last one. Each device keeps sums of its own,
added up at the end, one group of images after the other: at large boxes memory is what counts. Of
several processes each reads and adds its share of the images.
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
from vitreous.particles.memory import with_less
from vitreous.particles.prepare import ImageReader
from vitreous.particles.processes import own_share, sum_over_devices
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
    in the same order. `mesh`: devices to share the images between, by default all here. `chunk`:
    images at a time. `progress`: called with the number of images just done.
    """
    columns = jax.tree.map(lambda leaf: _device_type(np.asarray(leaf)), columns)
    count = len(columns.weight)
    where = np.arange(count) if rows is None else np.asarray(rows)
    mesh = Mesh(np.array(jax.local_devices()), ("data",)) if mesh is None else mesh
    sample = np.linspace(0, count - 1, min(count, SAMPLE)).astype(np.int64)
    density = _density(jax.tree.map(lambda leaf: jnp.asarray(leaf[sample]), columns), geometry)
    own = own_share(count)
    columns, where = jax.tree.map(lambda leaf: leaf[own], columns), where[own]
    chunk = chunk or chunk_size(geometry, mesh.size, jax.default_backend())
    chunk = min(chunk, -(-max(len(where), 1) // mesh.size) * mesh.size)
    chunk = -(-chunk // mesh.size) * mesh.size
    tell = _Told(count, progress)

    def add(chunk: int) -> list[Array]:
        tell.begin_again()
        return _add_all(source, columns, where, density, geometry, groups, mesh, chunk, tell)

    tables = with_less(add, chunk, mesh.size, "backprojection")
    return _collect(tables, density, geometry, groups)


def _add_all(
    source: ImageReader,
    columns: ImageColumns,
    where: Int[np.ndarray, " m"],
    density: Float[Array, " radii"],
    geometry: Geometry,
    groups: int,
    mesh: Mesh,
    chunk: int,
    tell: "_Told",
) -> list[Array]:
    """Add the images of this process in chunks; the table of each device."""
    spread = NamedSharding(mesh, PartitionSpec(mesh.axis_names[0]))
    shape = jax.eval_shape(lambda: empty_table(geometry.grid, groups)).shape
    tables = jnp.zeros((mesh.size, *shape), jnp.float32, device=spread)
    done = None
    for start in range(0, len(where), chunk):
        index = np.arange(start, min(start + chunk, len(where)))
        images, part = _read_chunk(source, columns, where, index, chunk)
        images, part = jax.device_put((images, part), spread)
        if done is not None:
            # Never more than one chunk ahead of the devices: memory stays bounded.
            done.block_until_ready()
            tell(chunk)
        tables, done = _add_images(tables, images, part, density, geometry, mesh)
    if done is not None:
        done.block_until_ready()
    tell.rest()
    return [shard.data for shard in tables.addressable_shards]


class _Told:
    """Tell progress in images of all processes, of which this one sees its own."""

    def __init__(self, count: int, progress: Callable[[int], None] | None) -> None:
        self._count, self._progress = count, progress
        self._done = self._told = 0

    def begin_again(self) -> None:
        """Start over: what was told once is not told again."""
        self._done = 0

    def __call__(self, images: int) -> None:
        """Count images of this process as done."""
        self._done = min(self._done + images * jax.process_count(), self._count)
        new = self._done - self._told
        if new > 0:
            self._told = self._done
            if self._progress is not None:
                self._progress(new)

    def rest(self) -> None:
        """Count all images as done."""
        self(self._count)


def _read_chunk(
    source: ImageReader, columns: ImageColumns, where: np.ndarray, index: np.ndarray, chunk: int
) -> tuple[np.ndarray, ImageColumns]:
    """Read images and their columns, filled up to a whole chunk with images of weight 0."""
    images = np.asarray(source.read(where[index]), np.float32)
    padded = np.pad(index, (0, chunk - len(index)), mode="edge")
    if len(index) < chunk:
        images = np.pad(images, ((0, chunk - len(index)), (0, 0), (0, 0)))
    part = jax.tree.map(lambda leaf: leaf[padded], columns)
    counted = (np.arange(chunk) < len(index)).astype(np.float32)
    return images, part._replace(weight=part.weight * counted)


@partial(jax.jit, static_argnames="geometry")
def _density(some: ImageColumns, geometry: Geometry) -> Float[Array, " radii"]:
    dose = None if some.dose is None else jnp.asarray(some.dose)
    return expected_density(jnp.asarray(some.pixel_size), some.ctf, dose, geometry)


def _collect(
    tables: list[Array], density: Float[Array, " radii"], geometry: Geometry, groups: int
) -> SliceSums:
    """Add up the tables of all devices and processes, and read them, group by group."""
    found = []
    for group in range(groups):
        total = sum_over_devices(_of_group(table, group, groups) for table in tables)
        found.append(_read(total, density, geometry))
    return SliceSums(*(jnp.concatenate(parts) for parts in zip(*found, strict=True)))


@partial(jax.jit, static_argnames=("group", "groups"))
def _of_group(
    table: Float[Array, "1 rows channels"], group: int, groups: int
) -> Float[Array, "voxels channels"]:
    return table.reshape(groups, -1, table.shape[-1])[group]


_read = partial(jax.jit, static_argnames="geometry")(image_sums)


def _device_type(leaf: np.ndarray) -> np.ndarray:
    return leaf.astype(np.int32 if np.issubdtype(leaf.dtype, np.integer) else np.float32)

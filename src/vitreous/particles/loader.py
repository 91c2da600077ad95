"""Prepared images for a fit: held on the devices when they fit, else streamed from disk.

Both ways give the same batches in the same order, through the same preparing function.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import grain
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

from vitreous.errors import InputError
from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.imaging.ctf import CTFParameters
from vitreous.particles.memory import free_device_memory
from vitreous.particles.order import EpochPlan, epoch_plan
from vitreous.particles.prepare import (
    Batch,
    ImageReader,
    Normalization,
    Recipe,
    Storage,
    estimate_normalization,
    planes_to_pixels,
    prepare_images,
)
from vitreous.particles.source import check_finite
from vitreous.particles.table import ParticleTable

logger = logging.getLogger(__name__)

DATA_AXIS = "data"
# Room left on the device for the model, its gradients and the work of a step.
_RESIDENT_SHARE = 0.5
_CHUNK_BYTES = 64 << 20


class Columns(NamedTuple):
    """Hold what is known of each particle, on the device: one row a particle."""

    rotation: Float[Array, "n 3 3"] | None
    shift: Float[Array, "n 2"]
    pixel_size: Float[Array, " n"]
    ctf: CTFParameters | None


class DeviceData(NamedTuple):
    """Hold the arrays that a jitted step reads batches from; `planes` is None when streaming."""

    columns: Columns
    planes: Float[Array, "n 2 p"] | None
    mean: Float[Array, ""]
    std: Float[Array, ""]


def _one_device(mesh: Mesh | None) -> bool:
    return mesh is None or mesh.size == 1


def _take_rows(array: Array, rows: Int[Array, " b"], mesh: Mesh | None) -> Array:
    """Gather rows of an array whose rows lie spread over the mesh; the result is spread too."""
    if _one_device(mesh):
        return array.at[rows].get(mode="promise_in_bounds")

    def local(part: Array, wanted: Array) -> Array:
        place = wanted - jax.lax.axis_index(DATA_AXIS) * part.shape[0]
        here = (place >= 0) & (place < part.shape[0])
        found = part.at[jnp.clip(place, 0, part.shape[0] - 1)].get(mode="promise_in_bounds")
        found = jnp.where(here.reshape(-1, *[1] * (part.ndim - 1)), found, 0)
        # One device has the row, the others add zeros: exact, whatever the number of devices.
        return jax.lax.psum_scatter(found, DATA_AXIS, scatter_dimension=0, tiled=True)

    spread, whole = PartitionSpec(DATA_AXIS), PartitionSpec()
    return jax.shard_map(local, mesh=mesh, in_specs=(spread, whole), out_specs=spread)(array, rows)


@dataclass(frozen=True, eq=False)
class PreparedImages:
    """Particles ready for a fit: their table, their images and where both lie.

    Made by `PreparedImages.build`. `arrays` goes into jitted functions as an argument; `batch`
    and `batch_of_images` are pure and run inside them.
    """

    table: ParticleTable
    source: ImageReader
    recipe: Recipe
    normalization: Normalization
    arrays: DeviceData
    mesh: Mesh | None = None

    @classmethod
    def build(
        cls,
        table: ParticleTable,
        source: ImageReader,
        *,
        pixels: FourierPixels | None = None,
        window_radius: float | None = 0.85,
        invert: bool = False,
        storage: Storage = "float32",
        normalization: Normalization | None = None,
        resident: bool | None = None,
        mesh: Mesh | None = None,
    ) -> "PreparedImages":
        """Measure the normalisation, put the particle columns and, if they fit, the images.

        **Arguments:** `table`: a `ParticleTable`, one row an image. `source`: its images.
        `pixels`: Fourier pixels to keep; all whole shells but DC by default. `window_radius`,
        `invert`, `storage`: see `Recipe`. `normalization`: numbers of an earlier run.
        `resident`: hold the images on the devices; None decides by free memory. `mesh`: devices
        along the axis `"data"`; one device by default.

        **Raises:** `InputError` for an empty set, unequal boxes, NaN pixels, a missing pixel size.
        """
        _check_table(table, source)
        pixels = pixels or FourierPixels(source.box, (source.box - 1) // 2)
        recipe = Recipe(pixels, window_radius, invert, storage)
        if normalization is None:
            radius = window_radius if window_radius is not None else 0.85
            normalization = estimate_normalization(source, table, radius)
        mean, std = (np.float32(value) for value in normalization)
        arrays = DeviceData(_put_columns(table, mesh), None, jnp.asarray(mean), jnp.asarray(std))
        data = cls(table, source, recipe, normalization, arrays, mesh)
        need = len(table) * 2 * len(pixels) * np.dtype(jnp.dtype(storage)).itemsize
        room = _RESIDENT_SHARE * free_device_memory(data.devices)
        resident = need <= room if resident is None else resident
        where = "held on the device" if resident else "streamed from disk"
        logger.info("%d images, %.2f GiB prepared: %s", len(table), need / 2**30, where)
        if not resident:
            return data
        return cls(
            table, source, recipe, normalization, arrays._replace(planes=data._put_planes()), mesh
        )

    def __len__(self) -> int:
        return len(self.table)

    @property
    def box(self) -> int:
        """Side of the images in pixels."""
        return self.source.box

    @property
    def pixels(self) -> FourierPixels:
        """The Fourier pixels of every batch."""
        return self.recipe.pixels

    @property
    def resident(self) -> bool:
        """Whether the images lie on the devices."""
        return self.arrays.planes is not None

    @property
    def devices(self) -> list[jax.Device]:
        """The devices that share the data."""
        return [jax.devices()[0]] if self.mesh is None else list(self.mesh.devices.flat)

    def batch_size(self, wanted: int) -> int:
        """Return the batch size used: at most the set, rounded up to a multiple of devices."""
        count = len(self.devices)
        return -(-min(wanted, len(self)) // count) * count

    def batch(
        self, arrays: DeviceData, rows: Int[Array, " b"], weight: Float[Array, " b"]
    ) -> Batch:
        """Gather a batch from resident images; pure, for use inside a jitted function."""
        if arrays.planes is None:
            raise ValueError("the images are streamed: use batch_of_images")
        planes = _take_rows(arrays.planes, rows, self.mesh)
        return self._assemble(arrays, planes, rows, weight)

    def batch_of_images(
        self,
        arrays: DeviceData,
        images: Float[Array, "b n n"],
        rows: Int[Array, " b"],
        weight: Float[Array, " b"],
    ) -> Batch:
        """Prepare streamed images into a batch; pure, for use inside a jitted function."""
        prepare = partial(prepare_images, recipe=self.recipe)
        if not _one_device(self.mesh):
            # Left to itself the compiler copies the images to every device for the transform.
            spread, whole = PartitionSpec(DATA_AXIS), PartitionSpec()
            prepare = jax.shard_map(
                prepare, mesh=self.mesh, in_specs=(spread, whole, whole), out_specs=spread
            )
        return self._assemble(arrays, prepare(images, arrays.mean, arrays.std), rows, weight)

    def _assemble(self, arrays: DeviceData, planes: Array, rows: Array, weight: Array) -> Batch:
        columns = jax.tree.map(lambda column: _take_rows(column, rows, self.mesh), arrays.columns)
        if not _one_device(self.mesh):
            spread = NamedSharding(self.mesh, PartitionSpec(DATA_AXIS))
            rows, weight = jax.lax.with_sharding_constraint((rows, weight), spread)
        return Batch(planes_to_pixels(planes), *columns, index=rows, weight=weight)

    def stream(
        self, plan: EpochPlan, first: int = 0, *, group: int = 1, threads: int = 2, ahead: int = 4
    ) -> Iterator[Float[Array, "b n n"]]:
        """Iterate over the raw images of each step of a plan, read ahead by worker threads.

        **Arguments:** `first`: step to begin with. `group`: steps whose images are read at once,
        in the order of the file; up to `threads + 2` groups are held. `ahead`: batches read
        before they are asked for: the batch queue, when `group` is 1.

        **Returns:** images on the devices, `(b, n, n)` float32, one array a step.
        """
        groups = grain.MapDataset.source(_Groups(self, plan.rows, group))[first // group :]
        options = grain.ReadOptions(
            num_threads=threads, prefetch_buffer_size=max(threads, ahead // group)
        )
        reader = iter(groups.to_iter_dataset(options))
        done = first % group
        try:
            for images in reader:
                for batch in images[done:]:
                    yield jax.device_put(batch, self._spread())
                done = 0
        finally:
            reader.close()

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """Iterate over all particles in the order of the table, the last batch filled up."""
        plan = epoch_plan(np.arange(len(self), dtype=np.int32), self.batch_size(batch_size))
        if self.resident:
            take = jax.jit(self.batch)
            for rows, weight in zip(*plan, strict=True):
                yield take(self.arrays, jnp.asarray(rows), jnp.asarray(weight))
        else:
            make = jax.jit(self.batch_of_images)
            for images, rows, weight in zip(self.stream(plan), *plan, strict=True):
                yield make(self.arrays, images, jnp.asarray(rows), jnp.asarray(weight))

    def _spread(self):
        if self.mesh is None:
            return jax.devices()[0]
        return NamedSharding(self.mesh, PartitionSpec(DATA_AXIS))

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Read raw images by row, float32 `(b, n, n)`, and refuse NaN pixels."""
        images = np.asarray(self.source.read(rows), np.float32)
        check_finite(images, rows, self.table)
        return images

    def _put_planes(self) -> Array:
        """Prepare all images, chunk by chunk, straight into their place on the devices."""
        n, p = len(self), len(self.pixels)
        rows_per_device = -(-n // len(self.devices))
        chunk = max(1, min(rows_per_device, _CHUNK_BYTES // (4 * self.box**2)))
        parts = []
        for place, device in enumerate(self.devices):
            first, stop = place * rows_per_device, min((place + 1) * rows_per_device, n)
            with jax.default_device(device):
                part = jnp.zeros((rows_per_device, 2, p), self.recipe.storage)
                for start in range(first, stop, chunk):
                    # Chunks of one size, the last one overlapping the one before: one compile.
                    start = max(first, min(start, stop - chunk))
                    rows = np.arange(start, min(start + chunk, stop))
                    images = jnp.asarray(self.read(rows))
                    planes = prepare_images(images, self.arrays.mean, self.arrays.std, self.recipe)
                    part = _write_rows(part, planes, np.int32(start - first))
            parts.append(part)
        if len(parts) == 1:
            return parts[0]
        shape = (rows_per_device * len(parts), 2, p)
        return jax.make_array_from_single_device_arrays(shape, self._spread(), parts)


@partial(jax.jit, donate_argnums=0)
def _write_rows(array: Array, rows: Array, start: Array) -> Array:
    return jax.lax.dynamic_update_slice_in_dim(array, rows, start, axis=0)


class _Groups:
    """The raw images of groups of steps, as a random-access source for Grain's threads."""

    def __init__(self, data: PreparedImages, rows: np.ndarray, group: int) -> None:
        self._data, self._rows, self._group = data, rows, group

    def __len__(self) -> int:
        return -(-len(self._rows) // self._group)

    def __getitem__(self, number: int) -> np.ndarray:
        rows = self._rows[number * self._group : (number + 1) * self._group]
        images = self._data.read(rows.ravel())
        return images.reshape(*rows.shape, *images.shape[1:])


def _put_columns(table: ParticleTable, mesh: Mesh | None) -> Columns:
    """Put the per-particle columns on the devices, filled up to a multiple of their number."""
    count = 1 if mesh is None else mesh.size
    fill = -len(table) % count

    def put(column: np.ndarray) -> Array:
        column = np.asarray(column, np.float32)
        column = np.pad(column, [(0, fill)] + [(0, 0)] * (column.ndim - 1), mode="edge")
        if mesh is None:
            return jnp.asarray(column)
        return jax.device_put(column, NamedSharding(mesh, PartitionSpec(DATA_AXIS)))

    columns = Columns(table.rotation, table.shift, table.pixel_size, table.ctf)
    return jax.tree.map(put, columns)


def _check_table(table: ParticleTable, source: ImageReader) -> None:
    name = table.path or "the particle set"
    if len(table) == 0:
        raise InputError(f"{name}: no particles are left after the selection")
    if len(source) != len(table):
        raise InputError(f"{name}: {len(table)} rows but {len(source)} images")
    boxes = np.unique(table.box)
    if len(boxes) > 1:
        raise InputError(
            f"{name}: images of several boxes {boxes.tolist()}; bring them to one with "
            "vitreous downsample"
        )
    sizes = np.asarray(table.pixel_size)
    if not (np.isfinite(sizes) & (sizes > 0)).all():
        row = int(table.row[~(np.isfinite(sizes) & (sizes > 0))][0])
        raise InputError(f"{name}: row {row} has no pixel size; give one with --Apix")

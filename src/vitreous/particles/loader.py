"""Prepared images for a fit: held on the devices when they fit, else streamed from disk.

Both ways give the same batches in the same order, through the same preparing function.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Float, Int

from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.particles.device_data import (
    SPREAD,
    WHOLE,
    Columns,
    DeviceData,
    Streamed,
    fetch,
    one_device,
    own_part,
    pack_rows,
    put,
    put_columns,
    put_parts,
    rows_sharding,
    take_rows,
    unpack_rows,
    write_rows,
)
from vitreous.particles.memory import fits_devices, is_out_of_memory
from vitreous.particles.order import EpochPlan, Groups, epoch_plan, group_plan
from vitreous.particles.prepare import (
    Batch,
    ImageReader,
    Normalization,
    Recipe,
    Storage,
    check_set,
    estimate_normalization,
    planes_to_pixels,
    prepare_images,
)
from vitreous.particles.source import check_finite
from vitreous.particles.streaming import read_ahead
from vitreous.particles.table import ParticleTable

logger = logging.getLogger(__name__)

Tree = TypeVar("Tree")

_CHUNK_BYTES = 64 << 20
# A step that sees fewer particles than this learns one state at a time.
_LEAST_GROUPS = 4


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
        check_set(table, source)
        pixels = pixels or FourierPixels(source.box, (source.box - 1) // 2)
        recipe = Recipe(pixels, window_radius, invert, storage)
        if normalization is None:
            radius = window_radius if window_radius is not None else 0.85
            normalization = estimate_normalization(source, table, radius)
        mean, std = (np.float32(value) for value in normalization)
        numbers = jnp.asarray(mean), jnp.asarray(std)
        if mesh is not None and jax.process_count() > 1:
            numbers = put(numbers, NamedSharding(mesh, WHOLE))
        arrays = DeviceData(None, None, *numbers)
        data = cls(table, source, recipe, normalization, arrays, mesh)
        need = prepared_bytes(len(table), pixels, storage)
        if resident is None:
            resident = fits_devices(need, data.devices)
        where = "held on the device" if resident else "streamed from disk"
        logger.info("%d images, %.2f GiB prepared: %s", len(table), need / 2**30, where)
        if not resident:
            return data
        try:
            planes = data._put_planes()
        except jax.errors.JaxRuntimeError as error:
            if not is_out_of_memory(error) or jax.process_count() > 1:
                raise
            logger.warning("the images do not fit on the device after all: streamed from disk")
            return data
        arrays = arrays._replace(columns=put_columns(table, mesh), planes=planes)
        return cls(table, source, recipe, normalization, arrays, mesh)

    def release(self) -> None:
        """Let go of the images on the devices: from now on they are read when they are needed."""
        if self.arrays.planes is not None:
            self.arrays.planes.delete()
            object.__setattr__(self, "arrays", self.arrays._replace(planes=None))

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

    def place(self, tree: Tree) -> Tree:
        """Put arrays beside the images, whole on each device.

        An array that JAX is free to move and one that it is not are different arguments to a
        compiled function: arrays from outside would have every function compiled twice.
        """
        if self.mesh is None or one_device(self.mesh):
            return jax.device_put(tree, self.devices[0])
        return put(tree, NamedSharding(self.mesh, WHOLE))

    def batch_size(self, wanted: int) -> int:
        """Return the batch size used: at most the set, rounded up to a multiple of devices."""
        count = len(self.devices)
        return -(-min(wanted, len(self)) // count) * count

    def groups_per_batch(self, wanted: int, groups: Groups) -> int:
        """Return how many groups make a batch of about `wanted` images, but a few."""
        devices = len(self.devices)
        count = min(max(wanted // groups.size, _LEAST_GROUPS), len(groups))
        return -(-count // devices) * devices

    def batch(
        self, arrays: DeviceData, rows: Int[Array, " b"], weight: Float[Array, " b"]
    ) -> Batch:
        """Gather a batch from resident images; pure, for use inside a jitted function."""
        return _resident_batch(arrays, rows, weight, self.mesh)

    def batch_of_images(
        self,
        arrays: DeviceData,
        streamed: Streamed,
        rows: Int[Array, " b"],
        weight: Float[Array, " b"],
    ) -> Batch:
        """Prepare streamed images into a batch; pure, for use inside a jitted function."""
        prepare = partial(prepare_images, recipe=self.recipe)
        if not one_device(self.mesh):
            # Left to itself the compiler copies the images to every device for the transform.
            prepare = jax.shard_map(
                prepare, mesh=self.mesh, in_specs=(SPREAD, WHOLE, WHOLE), out_specs=SPREAD
            )
        planes = prepare(streamed.images, arrays.mean, arrays.std)
        known = streamed.columns
        if known is None:
            columns = _rows_of(arrays.columns, rows, self.mesh)
        else:
            columns = unpack_rows(Columns.of(self.table), known)
        return _assemble(planes, columns, rows, weight, self.mesh)

    def stream(
        self, plan: EpochPlan, first: int = 0, *, group: int = 1, threads: int = 2, ahead: int = 4
    ) -> Iterator[Streamed]:
        """Iterate over the raw images of each step of a plan; arguments as in `read_ahead`.

        **Returns:** images `(b, n, n)`, float32, on the devices, with what is known of each.
        """
        # Each process reads what its own devices work on.
        rows = plan.rows[:, own_part(plan.rows.shape[1], self.mesh)]
        steps = read_ahead(self.read, rows, first, group=group, threads=threads, ahead=ahead)
        known = Columns.of(self.table) if self.arrays.columns is None else None
        for images, step in zip(steps, rows[first:], strict=True):
            packed = None if known is None else pack_rows(known, step)
            yield put_parts(Streamed(images, packed), plan.rows.shape[1], self.mesh)

    def poses(self) -> tuple[Float[np.ndarray, "n 3 3"], Float[np.ndarray, "n 2"]]:
        """Return the rotations and shifts (Å) at which batches come."""
        known = self.arrays.columns or Columns.of(self.table)
        rotation, shift = fetch((known.rotation, known.shift))
        return np.asarray(rotation)[: len(self)], np.asarray(shift)[: len(self)]

    def plan_in_order(self, batch_size: int, groups: Groups | None = None) -> EpochPlan:
        """Visit every image once in the order of the table, or group by group."""
        if groups is None:
            return epoch_plan(np.arange(len(self), dtype=np.int32), self.batch_size(batch_size))
        count = self.groups_per_batch(batch_size, groups)
        return group_plan(np.arange(len(groups), dtype=np.int32), groups, count)

    def in_order(self, batch_size: int, groups: Groups | None = None) -> Iterator[Batch]:
        """Iterate over all particles in the order of the table, the last batch filled up.

        **Arguments:** `groups`: images that come side by side in one batch, whatever their order.
        """
        yield from self.batches(self.plan_in_order(batch_size, groups))

    def batches(self, plan: EpochPlan) -> Iterator[Batch]:
        """Iterate over the batches of a plan."""
        if self.resident:
            for rows, weight in zip(*plan, strict=True):
                yield _take(self.arrays, jnp.asarray(rows), jnp.asarray(weight), self.mesh)
        else:
            make = jax.jit(self.batch_of_images)
            for streamed, rows, weight in zip(self.stream(plan), *plan, strict=True):
                yield make(self.arrays, streamed, jnp.asarray(rows), jnp.asarray(weight))

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
            if device.process_index != jax.process_index():
                continue
            first, stop = place * rows_per_device, min((place + 1) * rows_per_device, n)
            with jax.default_device(device):
                part = jnp.zeros((rows_per_device, 2, p), self.recipe.storage)
                mean, std = (jnp.asarray(np.float32(value)) for value in self.normalization)
                for start in range(first, stop, chunk):
                    # Chunks of one size, the last one overlapping the one before: one compile.
                    start = max(first, min(start, stop - chunk))
                    rows = np.arange(start, min(start + chunk, stop))
                    images = jnp.asarray(self.read(rows))
                    planes = prepare_images(images, mean, std, self.recipe)
                    part = write_rows(part, planes, np.int32(start - first))
            parts.append(part)
        if len(self.devices) == 1:
            return parts[0]
        shape = (rows_per_device * len(self.devices), 2, p)
        return jax.make_array_from_single_device_arrays(shape, rows_sharding(self.mesh), parts)


def prepared_bytes(count: int, pixels: FourierPixels, storage: Storage) -> int:
    """Return the size of prepared images."""
    return count * 2 * len(pixels) * np.dtype(jnp.dtype(storage)).itemsize


def _resident_batch(
    arrays: DeviceData, rows: Int[Array, " b"], weight: Float[Array, " b"], mesh: Mesh | None
) -> Batch:
    if arrays.planes is None:
        raise ValueError("the images are streamed: use batch_of_images")
    planes = take_rows(arrays.planes, rows, mesh)
    return _assemble(planes, _rows_of(arrays.columns, rows, mesh), rows, weight, mesh)


# One function for all sets and plans: a new one each time would be traced again.
_take = jax.jit(_resident_batch, static_argnames="mesh")


def _rows_of(columns: Columns | None, rows: Int[Array, " b"], mesh: Mesh | None) -> Columns:
    return jax.tree.map(lambda x: take_rows(x, rows, mesh), columns)


def _assemble(
    planes: Array,
    columns: Columns,
    rows: Int[Array, " b"],
    weight: Float[Array, " b"],
    mesh: Mesh | None,
) -> Batch:
    if not one_device(mesh):
        rows, weight = jax.lax.with_sharding_constraint((rows, weight), rows_sharding(mesh))
    *known, dose = columns
    return Batch._make((planes_to_pixels(planes), *known, rows, weight, dose))

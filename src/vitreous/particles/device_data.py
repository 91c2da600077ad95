"""Arrays on the devices: rows of particles spread along one axis of a mesh, and gathered."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding
from jaxtyping import Array, Float, Float32, Int, PyTree

from vitreous.imaging.ctf import CTFParameters
from vitreous.particles.table import ParticleTable
from vitreous.particles.tilts import fading_dose

DATA_AXIS = "data"
SPREAD, WHOLE = PartitionSpec(DATA_AXIS), PartitionSpec()


class Columns(NamedTuple):
    """Hold what is known of each particle, one row a particle: of a table, or on the device."""

    rotation: Float[Array | np.ndarray, "n 3 3"] | None
    shift: Float[Array | np.ndarray, "n 2"]
    pixel_size: Float[Array | np.ndarray, " n"]
    ctf: CTFParameters | None
    dose: Float[Array | np.ndarray, " n"] | None

    @classmethod
    def of(cls, table: ParticleTable) -> "Columns":
        """Take the columns of a table; nothing is copied."""
        return cls(table.rotation, table.shift, table.pixel_size, table.ctf, fading_dose(table))


class Streamed(NamedTuple):
    """Hold what is sent to the device for one step.

    **Fields:** `columns`: those of its images side by side, or None where all lie on the device.
    """

    images: Float[Array | np.ndarray, "b n n"]
    columns: Float[Array | np.ndarray, "b k"] | None


class DeviceData(NamedTuple):
    """Hold the arrays that a jitted step reads batches from.

    When streaming, `planes` is None, and so are `columns` as a rule: they come with the images.
    """

    columns: Columns | None
    planes: Float[Array, "n 2 p"] | None
    mean: Float[Array, ""]
    std: Float[Array, ""]


def one_device(mesh: Mesh | None) -> bool:
    """Whether there is nothing to spread over."""
    return mesh is None or mesh.size == 1


def rows_sharding(mesh: Mesh | None) -> Sharding:
    """Say where an array with one row a particle lies."""
    if mesh is None:
        return SingleDeviceSharding(jax.devices()[0])
    return NamedSharding(mesh, SPREAD)


def put(tree: PyTree, sharding: Any) -> PyTree:
    """Put arrays, which every process holds whole, where `sharding` says.

    **Arguments:** `sharding`: one for all arrays, or a tree of them.
    """
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)

    def place(leaf: Any, where: Sharding) -> Array:
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(place(jax.random.key_data(leaf), where))
        host = np.asarray(leaf)
        return jax.make_array_from_callback(host.shape, where, lambda part: host[part])

    if isinstance(sharding, Sharding):
        return jax.tree.map(lambda leaf: place(leaf, sharding), tree)
    return jax.tree.map(place, tree, sharding)


def fetch(tree: PyTree) -> PyTree:
    """Return arrays as NumPy, whole in every process; all processes must ask for the same."""

    def whole(leaf: Any) -> Any:
        if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable:
            return jax.device_get(leaf)
        if leaf.is_fully_replicated:
            return np.asarray(leaf.addressable_data(0))
        from jax.experimental import multihost_utils

        return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))

    return jax.device_get(tree) if jax.process_count() == 1 else jax.tree.map(whole, tree)


def local(tree: PyTree) -> PyTree:
    """Return arrays that lie whole on several devices as they lie on one of this process."""

    def one(leaf: Any) -> Any:
        if not isinstance(leaf, jax.Array) or len(leaf.devices()) == 1:
            return leaf
        return leaf.addressable_data(0) if leaf.is_fully_replicated else leaf

    return jax.tree.map(one, tree)


def own_part(count: int, mesh: Mesh | None) -> slice:
    """Say which rows of `count`, spread over the mesh, lie on the devices of this process.

    Devices of one process stand side by side in a mesh, so its rows do.
    """
    if mesh is None or jax.process_count() == 1:
        return slice(0, count)
    mine = [n for n, d in enumerate(mesh.devices.flat) if d.process_index == jax.process_index()]
    each = count // mesh.size
    return slice(mine[0] * each, (mine[-1] + 1) * each) if mine else slice(0, 0)


def take_rows(array: Array, rows: Int[Array, " b"], mesh: Mesh | None) -> Array:
    """Gather rows of an array whose rows lie spread over the mesh; the result is spread too."""
    if one_device(mesh):
        return array.at[rows].get(mode="promise_in_bounds")

    def local(part: Array, wanted: Array) -> Array:
        place = wanted - jax.lax.axis_index(DATA_AXIS) * part.shape[0]
        here = (place >= 0) & (place < part.shape[0])
        found = part.at[jnp.clip(place, 0, part.shape[0] - 1)].get(mode="promise_in_bounds")
        found = jnp.where(here.reshape(-1, *[1] * (part.ndim - 1)), found, 0)
        # One device has the row, the others add zeros: exact, whatever the number of devices.
        return jax.lax.psum_scatter(found, DATA_AXIS, scatter_dimension=0, tiled=True)

    return jax.shard_map(local, mesh=mesh, in_specs=(SPREAD, WHOLE), out_specs=SPREAD)(array, rows)


def put_columns(table: ParticleTable, mesh: Mesh | None) -> Columns:
    """Put the per-particle columns on the devices, filled up to a multiple of their number."""
    count = 1 if mesh is None else mesh.size
    fill = -len(table) % count

    def filled(column: np.ndarray) -> Array:
        column = np.asarray(column, np.float32)
        column = np.pad(column, [(0, fill)] + [(0, 0)] * (column.ndim - 1), mode="edge")
        return put(column, rows_sharding(mesh))

    return jax.tree.map(filled, Columns.of(table))


def put_parts(tree: PyTree, count: int, mesh: Mesh | None) -> PyTree:
    """Put arrays of `count` rows, of which each process holds those of its own devices."""
    placed = rows_sharding(mesh)
    if jax.process_count() == 1 or mesh is None:
        return jax.device_put(tree, placed)
    return jax.tree.map(
        lambda part: jax.make_array_from_process_local_data(placed, part, (count, *part.shape[1:])),
        tree,
    )


def pack_rows(columns: Columns, rows: Int[np.ndarray, " b"]) -> Float32[np.ndarray, "b k"]:
    """Put the columns of some rows side by side: one array is sent faster than a dozen."""
    parts = [np.asarray(column)[rows].reshape(len(rows), -1) for column in jax.tree.leaves(columns)]
    return np.concatenate(parts, axis=1, dtype=np.float32)


def unpack_rows(columns: Columns, packed: Float[Array | np.ndarray, "b k"]) -> Columns:
    """Take apart what `pack_rows` put side by side. `columns`: those that it was given."""
    leaves, tree = jax.tree.flatten(columns)
    ends = np.cumsum([int(np.prod(leaf.shape[1:])) for leaf in leaves])[:-1]
    parts = jnp.split(packed, ends, axis=1)
    shaped = [part.reshape(-1, *leaf.shape[1:]) for part, leaf in zip(parts, leaves, strict=True)]
    return jax.tree.unflatten(tree, shaped)


@partial(jax.jit, donate_argnums=0)
def write_rows(array: Array, rows: Array, start: Int[Array | np.ndarray, ""]) -> Array:
    """Write neighbouring rows in place: `array` is donated."""
    return jax.lax.dynamic_update_slice_in_dim(array, rows, start, axis=0)

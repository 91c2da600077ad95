"""Arrays on the devices: rows of particles spread along one axis of a mesh, and gathered."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding
from jaxtyping import Array, Float, Int, PyTree

from vitreous.imaging.ctf import CTFParameters
from vitreous.particles.table import ParticleTable
from vitreous.particles.tilts import fading_dose

DATA_AXIS = "data"
SPREAD, WHOLE = PartitionSpec(DATA_AXIS), PartitionSpec()


class Columns(NamedTuple):
    """Hold what is known of each particle, on the device: one row a particle."""

    rotation: Float[Array, "n 3 3"] | None
    shift: Float[Array, "n 2"]
    pixel_size: Float[Array, " n"]
    ctf: CTFParameters | None
    dose: Float[Array, " n"] | None


class DeviceData(NamedTuple):
    """Hold the arrays that a jitted step reads batches from; `planes` is None when streaming."""

    columns: Columns
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

    columns = (table.rotation, table.shift, table.pixel_size, table.ctf, fading_dose(table))
    return Columns(*jax.tree.map(filled, columns))


@partial(jax.jit, donate_argnums=0)
def write_rows(array: Array, rows: Array, start: Int[Array | np.ndarray, ""]) -> Array:
    """Write neighbouring rows in place: `array` is donated."""
    return jax.lax.dynamic_update_slice_in_dim(array, rows, start, axis=0)

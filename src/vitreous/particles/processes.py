"""What several processes add up or agree on, and which rows are whose."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jaxtyping import PyTree

from vitreous.particles.device_data import DATA_AXIS, SPREAD, WHOLE


def least_of_processes(value: int) -> int:
    """Return the least of the values of all processes, for what they must decide alike."""
    if jax.process_count() == 1:
        return value
    from jax.experimental import multihost_utils

    # In KiB: there are no 64-bit integers on the way.
    kibibytes = np.asarray(min(value >> 10, (1 << 31) - 1), np.int32)
    return int(np.min(multihost_utils.process_allgather(kibibytes))) << 10


def own_share(count: int) -> slice:
    """Say which of `count` rows this process works on, where each works by itself."""
    processes, process = jax.process_count(), jax.process_index()
    return slice(count * process // processes, count * (process + 1) // processes)


def sum_over_processes(tree: PyTree) -> PyTree:
    """Add up arrays that each process holds for itself.

    **Returns:** the sums, on the first device of every process.
    """
    if jax.process_count() == 1:
        return tree
    firsts = {device.process_index: device for device in reversed(jax.devices())}
    mesh = Mesh(np.array([firsts[n] for n in sorted(firsts)]), (DATA_AXIS,))
    spread, whole = NamedSharding(mesh, SPREAD), NamedSharding(mesh, WHOLE)
    add = jax.jit(lambda x: jnp.sum(x, axis=0), out_shardings=whole)

    def total(leaf: jax.Array) -> jax.Array:
        part = jax.device_put(leaf[None], firsts[jax.process_index()])
        shape = (mesh.size, *leaf.shape)
        parts = jax.make_array_from_single_device_arrays(shape, spread, [part])
        return add(parts).addressable_data(0)

    return jax.tree.map(total, tree)

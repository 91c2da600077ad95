"""A pass over particles shared between processes and the devices of each: whose rows are whose,
how what was made of them comes together in order, and how it is added up.

No device waits for another within a pass. Every process calls the same functions in the same order.
"""

import hashlib
from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jaxtyping import PyTree

from vitreous.errors import InputError
from vitreous.particles.device_data import DATA_AXIS, SPREAD, WHOLE

Result = TypeVar("Result")
_MESSAGE_BYTES = 1000


def least_of_processes(value: int) -> int:
    """Return the least of the values of all processes, for what they must decide alike."""
    if jax.process_count() == 1:
        return value
    # In KiB: there are no 64-bit integers on the way.
    return -most_of_processes(-min(value >> 10, (1 << 31) - 1)) << 10


def own_share(count: int) -> slice:
    """Say which of `count` rows this process works on, where each works by itself."""
    return _share_of(count, jax.process_index())


def _share_of(count: int, process: int) -> slice:
    processes = jax.process_count()
    return slice(count * process // processes, count * (process + 1) // processes)


def map_rows(function: Callable[..., PyTree], *arrays: PyTree) -> PyTree:
    """Apply a function of rows to arrays on the host, each device here taking its part of them.

    **Arguments:** `function`: compiled; what it makes of a row depends on that row alone.
    `arrays`: a row each; at least one row.

    **Returns:** NumPy arrays, in the order of the rows.
    """
    devices = jax.local_devices()
    if len(devices) == 1:
        return jax.device_get(function(*arrays))
    count = len(jax.tree.leaves(arrays)[0])
    each, made = -(-count // len(devices)), []
    for place, device in enumerate(devices):
        # Parts of one size: those at the end are filled up.
        rows = np.minimum(np.arange(place * each, (place + 1) * each), count - 1)
        part = jax.tree.map(lambda array, rows=rows: array[rows], arrays)
        made.append(function(*jax.device_put(part, device)))
    return jax.tree.map(lambda *parts: np.concatenate(parts)[:count], *jax.device_get(made))


def gather_rows(part: PyTree, count: int) -> PyTree:
    """Put together what the processes made, each of its `own_share` of `count` rows.

    **Arguments:** `part`: arrays with a row for each row of this process; no 64-bit numbers.

    **Returns:** NumPy arrays of `count` rows in their order, in every process.
    """
    if jax.process_count() == 1:
        return part
    most = -(-count // jax.process_count())

    def fill(leaf: np.ndarray) -> np.ndarray:
        return np.pad(leaf, [(0, most - len(leaf))] + [(0, 0)] * (np.ndim(leaf) - 1))

    every = [
        jax.tree.map(lambda leaf, size=len(range(count)[_share_of(count, process)]): leaf[:size], x)
        for process, x in enumerate(of_every_process(jax.tree.map(fill, part)))
    ]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *every)


def of_every_process(tree: PyTree) -> list[PyTree]:
    """Return what each process holds, arrays of one shape in all; as NumPy where there are more."""
    if jax.process_count() == 1:
        return [tree]
    from jax.experimental import multihost_utils

    every = jax.tree.map(np.asarray, multihost_utils.process_allgather(tree))
    return [
        jax.tree.map(lambda leaf, process=process: leaf[process], every)
        for process in range(jax.process_count())
    ]


def as_first(tree: PyTree) -> PyTree:
    """Return what the first process holds: hosts need not round alike.

    **Arguments:** `tree`: NumPy arrays, of one shape in all; no 64-bit numbers.
    """
    if jax.process_count() == 1:
        return tree
    from jax.experimental import multihost_utils

    return jax.tree.map(np.asarray, multihost_utils.broadcast_one_to_all(tree))


def most_of_processes(value: int) -> int:
    """Return the largest of the values of all processes, once all have come here."""
    return max(int(one) for one in of_every_process(np.asarray(value, np.int32)))


def check_same(what: str, *parts: bytes) -> None:
    """Make sure that all processes were given the same.

    **Arguments:** `what`: in words, for the message. `parts`: what is compared, by its digest.

    **Raises:** `InputError` in every process, naming the first that differs.
    """
    if jax.process_count() == 1:
        return
    digest = hashlib.sha256(b"\0".join(parts)).digest()
    first, *others = of_every_process(np.frombuffer(digest, np.uint8).astype(np.int32))
    other = [number for number, one in enumerate(others, 1) if not np.array_equal(one, first)]
    if other:
        raise InputError(
            f"process {other[0]} sees other {what} than process 0: the machines must share "
            "one file system and be given the same command"
        )


def raise_together(error: InputError | None) -> None:
    """Raise in every process what one of them has found, so that none waits for it.

    **Arguments:** `error`: of this process, if any.

    **Raises:** `InputError` with the words of the first process that has one.
    """
    if jax.process_count() == 1:
        if error is not None:
            raise error
        return
    words = ("" if error is None else str(error)).encode()[:_MESSAGE_BYTES]
    mine = np.zeros(_MESSAGE_BYTES, np.uint8)
    mine[: len(words)] = np.frombuffer(words, np.uint8)
    for said in of_every_process(mine):
        if said.any():
            raise InputError(said.tobytes().rstrip(b"\0").decode(errors="replace")) from error


def together(work: Callable[[], Result]) -> Result:
    """Do what each process does by itself; where it fails in one it fails in all, alike.

    **Raises:** `InputError` as `raise_together`.
    """
    made: list[Result] = []
    error = None
    try:
        made.append(work())
    except InputError as found:
        error = found
    raise_together(error)
    return made[0]


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


def sum_over_devices(parts: Iterable[PyTree]) -> PyTree:
    """Add up what the devices of this process hold, one after the other, then all processes.

    The devices do not wait for each other here, as in a sum of theirs: on CPUs with fewer cores
    than devices that can stand still. The first part is used up.

    **Returns:** the sums, on the first device of every process.
    """
    total = None
    for part in parts:
        here = jax.device_put(part, jax.local_devices()[0])
        total = here if total is None else _plus(total, here)
    return sum_over_processes(total)


@partial(jax.jit, donate_argnums=0)
def _plus(total: PyTree, part: PyTree) -> PyTree:
    return jax.tree.map(jnp.add, total, part)

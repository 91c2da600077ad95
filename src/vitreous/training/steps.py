"""The compiled inner loop: many steps in one call, the state donated, the data kept."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jaxtyping import Array, Key, PyTree

from vitreous.particles.device_data import WHOLE, DeviceData, Streamed, put
from vitreous.particles.loader import PreparedImages
from vitreous.particles.order import EpochPlan
from vitreous.training.mesh import state_sharding
from vitreous.training.method import Method

Metrics = dict[str, Any]

# Streamed images of so many bytes, or those of one step, are worked on in one call: each call asks
# the system for its memory anew, which takes as long as a third of a small step.
_CALL_BYTES = 4 << 20


def block_length(steps: int, wanted: int) -> int:
    """Choose how many steps run in one call: near `wanted`, and if possible a divisor of `steps`.

    Blocks of one length compile once; if the length divides the epoch no step needs masking.
    """
    wanted = max(1, min(steps, wanted))
    for length in range(wanted, wanted // 2, -1):
        if steps % length == 0:
            return length
    return -(-steps // -(-steps // wanted))


class Stepper:
    """Run a method's steps over prepared images.

    States are handled as their arrays only (`arrays`); `whole` puts the other leaves back.
    """

    def __init__(
        self,
        method: Method,
        data: PreparedImages,
        *,
        key: Key[Array, ""],
        total_steps: int,
        block: int,
        threads: int = 2,
        ahead: int = 4,
        group: int = 1,
    ) -> None:
        """Trace the method's shapes; `threads`, `ahead`, `group` are those of streaming."""
        self._method, self._data, self._block = method, data, block
        self._threads, self._ahead, self._group = threads, ahead, group
        self._init_key, self._step_key = jax.random.split(key)
        self._total = np.float32(total_steps)
        shapes = eqx.filter_eval_shape(method.init, self._init_key)
        self.shapes, self._rest = eqx.partition(shapes, _is_shape)
        self.shardings = self._place(shapes)
        mesh = data.mesh
        self._whole = None if mesh is None else NamedSharding(mesh, WHOLE)
        placed = None if self.shardings is None else (self.shardings, self._whole)
        self._run_block = jax.jit(
            self._scan, donate_argnums=0, static_argnames="masked", out_shardings=placed
        )
        self._run_streamed = jax.jit(
            self._streamed_scan, donate_argnums=0, static_argnames="masked", out_shardings=placed
        )

    def _place(self, shapes: PyTree) -> PyTree | None:
        mesh = self._data.mesh
        if mesh is None or mesh.size == 1:
            return None
        marker = getattr(self._method, "per_particle", None)
        tables = marker(shapes) if marker else jax.tree.map(lambda _: False, shapes)
        # A mark on a leaf that is no array means nothing.
        tables = jax.tree.map(lambda leaf, mark: mark if _is_shape(leaf) else None, shapes, tables)
        return state_sharding(self.shapes, tables, mesh)

    def init(self) -> PyTree:
        """Make the arrays of the first state."""

        def arrays(key):
            state = eqx.filter(self._method.init(key), eqx.is_array)
            # A weakly typed leaf would come back strong from the first step and compile twice.
            return jax.tree.map(lambda x: jax.lax.convert_element_type(x, x.dtype), state)

        made = jax.jit(arrays, out_shardings=self.shardings)(self._init_key)
        return self.put(made) if self.shardings is None else made

    def put(self, arrays: PyTree) -> PyTree:
        """Put arrays, read back or changed on the host, where the steps want them."""
        if self.shardings is None:
            # Arrays bound to no device come back bound to one: steps would be compiled twice.
            return jax.device_put(arrays, self._data.devices[0])
        return put(arrays, self.shardings)

    def whole(self, arrays: PyTree) -> PyTree:
        """Return the state as the method knows it."""
        return eqx.combine(arrays, self._rest)

    def seen_by_all(self, arrays: PyTree) -> PyTree:
        """Return the state as the method knows it, whole in every process that looks at it."""
        if jax.process_count() > 1:
            arrays = jax.jit(lambda tree: tree, out_shardings=self._whole)(arrays)
        return self.whole(arrays)

    def put_plan(self, plan: EpochPlan) -> EpochPlan:
        """Put what an epoch visits beside the data."""
        if jax.process_count() == 1:
            return jax.tree.map(jnp.asarray, plan)
        return put(plan, self._whole)

    def arrays(self, state: PyTree) -> PyTree:
        """Return the arrays of a state, placed for the next step."""
        return self.put(eqx.filter(state, eqx.is_array))

    def _step(self, arrays: PyTree, batch, step: Array) -> tuple[PyTree, Metrics]:
        key = jax.random.fold_in(self._step_key, step)
        progress = step.astype(jnp.float32) / self._total
        state, metrics = self._method.step(self.whole(arrays), batch, key, progress)
        return eqx.filter(state, eqx.is_array), metrics

    def _scan(
        self,
        arrays: PyTree,
        data: DeviceData,
        plan: EpochPlan,
        first: Array,
        count: Array,
        step: Array,
        *,
        masked: bool,
    ) -> tuple[PyTree, Metrics]:
        rows, weight = (
            jax.lax.dynamic_slice_in_dim(jnp.asarray(table), first, self._block) for table in plan
        )

        def body(arrays, given):
            offset, rows, weight = given
            return self._step(arrays, self._data.batch(data, rows, weight), step + offset)

        offsets = jnp.arange(self._block, dtype=jnp.int32)
        return _scan_first(body, arrays, (offsets, rows, weight), count, masked)

    def _streamed_scan(
        self,
        arrays: PyTree,
        data: DeviceData,
        images: tuple[Streamed, ...],
        rows: Array,
        weight: Array,
        count: Array,
        step: Array,
        *,
        masked: bool,
    ) -> tuple[PyTree, Metrics]:
        def body(arrays, given):
            offset, images, rows, weight = given
            batch = self._data.batch_of_images(data, images, rows, weight)
            return self._step(arrays, batch, step + offset)

        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *images)
        offsets = jnp.arange(len(images), dtype=jnp.int32)
        return _scan_first(body, arrays, (offsets, stacked, rows, weight), count, masked)

    def steps_per_call(self, batch_size: int) -> int:
        """Choose how many steps run in one call on streamed images: a divisor of the block."""
        step_bytes = 4 * self._data.box**2 * batch_size
        most = max(1, _CALL_BYTES // step_bytes)
        return max(k for k in range(1, self._block + 1) if self._block % k == 0 and k <= most)

    def epoch(self, plan: EpochPlan, position: int, step: int) -> "Epoch":
        """Prepare to run an epoch from its step `position`; `step` are done in all by then."""
        return Epoch(self, plan, position, step)


def _scan_first(
    body: Callable, arrays: PyTree, given: tuple, count: Array, masked: bool
) -> tuple[PyTree, Metrics]:
    """Run a body over what is given; if `masked`, only over the first `count`.

    **Arguments:** `given`: its first table counts from 0.
    """

    def skip(arrays, given):
        metrics = jax.eval_shape(body, arrays, given)[1]
        return arrays, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), metrics)

    def maybe(arrays, given):
        return jax.lax.cond(given[0] < count, body, skip, arrays, given)

    return jax.lax.scan(maybe if masked else body, arrays, given)


def _is_shape(leaf: Any) -> bool:
    return isinstance(leaf, jax.ShapeDtypeStruct)


class Epoch:
    """One epoch under way: `advance` runs the next block of steps."""

    def __init__(self, stepper: Stepper, plan: EpochPlan, position: int, step: int) -> None:
        self._stepper, self._plan = stepper, plan
        self.position, self._step = position, step
        self.steps = len(plan.rows)
        if stepper._data.resident:
            block = stepper._block
            self._masked = (self.steps - position) % block != 0
            # Room behind the end: a slice that begins inside must not be moved back.
            padding = [(0, block), (0, 0)]
            self._device_plan = stepper.put_plan(
                EpochPlan(*(np.pad(table, padding) for table in plan))
            )
        else:
            self._images: Iterator[Streamed] = stepper._data.stream(
                plan,
                position,
                group=stepper._group,
                threads=stepper._threads,
                ahead=stepper._ahead,
            )
            self._each = stepper.steps_per_call(plan.rows.shape[1])
            self._masked = (self.steps - position) % self._each != 0
            self._running: deque[Any] = deque()

    def advance(self, arrays: PyTree) -> tuple[PyTree, int, Callable[[], dict[str, np.ndarray]]]:
        """Run the next block; returns at once, the work goes on.

        **Returns:** the new arrays (the old ones are donated), the number of steps, and a
        function that waits for the block and gives its metrics, each `(steps,)`.
        """
        stepper = self._stepper
        count = min(stepper._block, self.steps - self.position)
        if stepper._data.resident:
            arrays, stacked = stepper._run_block(
                arrays,
                stepper._data.arrays,
                self._device_plan,
                np.int32(self.position),
                np.int32(count),
                np.int32(self._step),
                masked=self._masked,
            )

            def fetch() -> dict[str, np.ndarray]:
                return {k: np.asarray(v)[:count] for k, v in jax.device_get(stacked).items()}

        else:
            calls = []
            for start in range(0, count, self._each):
                arrays, metrics = self._call(arrays, start, min(self._each, count - start))
                calls.append(metrics)
                self._running.append(metrics)
                # Bounds how many batches wait on the device; the device itself never waits.
                if len(self._running) > max(1, stepper._ahead // self._each):
                    jax.block_until_ready(self._running.popleft())

            def fetch() -> dict[str, np.ndarray]:
                host = jax.device_get(calls)
                return {name: np.concatenate([m[name] for m in host])[:count] for name in host[0]}

        self.position += count
        self._step += count
        return arrays, count, fetch

    def _call(self, arrays: PyTree, start: int, count: int) -> tuple[PyTree, Metrics]:
        """Run `count` steps on streamed images, `start` steps on from here."""
        stepper, each = self._stepper, self._each
        images = [next(self._images) for _ in range(count)]
        steps = self.position + start + np.minimum(np.arange(each), count - 1)
        return stepper._run_streamed(
            arrays,
            stepper._data.arrays,
            (*images, *images[-1:] * (each - count)),
            self._plan.rows[steps],
            self._plan.weight[steps],
            np.int32(count),
            np.int32(self._step + start),
            masked=self._masked,
        )

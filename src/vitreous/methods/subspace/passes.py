"""Passes over a whole set, wherever its images lie: on one device, on several, or on disk."""

import os
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from vitreous.methods.subspace.expectation import ContrastPrior
from vitreous.methods.subspace.model import Band, Noise, Subspace, grid_table
from vitreous.methods.subspace.sweep import Seen, Sums, add_batch, empty_sums
from vitreous.particles.device_data import SPREAD, WHOLE, DeviceData, fetch, one_device
from vitreous.particles.loader import PreparedImages
from vitreous.particles.memory import with_less
from vitreous.particles.order import EpochPlan, Groups, epoch_plan, group_plan
from vitreous.particles.prepare import Batch

# Each part of a pass has sums of its own.
_MOST_PARTS = 8


class Passes:
    """Run E-steps over prepared images and collect what they add up to.

    **Arguments:** `data`: with at least the shells of `band`. `batch_size`: images worked on at a
    time, by default what suits CPU or GPU. `groups`: the images of each particle of tilt series;
    they share its coordinates. `poll`: called between batches that are streamed, may raise.
    """

    def __init__(
        self,
        data: PreparedImages,
        band: Band,
        contrast: ContrastPrior,
        batch_size: int | None = None,
        groups: Groups | None = None,
        poll: Callable[[], None] | None = None,
    ) -> None:
        self.data, self.band, self.contrast = data, band, contrast
        wanted = batch_size or (64 if jax.default_backend() == "cpu" else 1024)
        self.groups, self._poll = groups, poll
        # Particles are what a pass visits, each with all of its images.
        self.visits = len(data) if groups is None else len(groups)
        self.tilts = 1 if groups is None else groups.size
        if groups is None:
            self._batch_visits = data.batch_size(wanted)
        else:
            self._batch_visits = data.groups_per_batch(wanted, groups)
        self.batch_size = self._batch_visits * self.tilts
        self._resident: Callable = jax.jit(self._scan, donate_argnums=0)
        self._streamed = jax.jit(self._stream_step, donate_argnums=0)
        # A pass is many small steps, which XLA runs on one core: so many passes run side by side.
        cores = min(os.cpu_count() or 1, _MOST_PARTS) if jax.default_backend() == "cpu" else 1
        self.parts = cores if data.resident and one_device(data.mesh) else 1
        self._compiled: Callable | None = None
        mesh = data.mesh
        self._add_devices = jax.jit(
            lambda sums: jax.tree.map(lambda x: x.sum(axis=0), sums),
            out_shardings=None if mesh is None else jax.sharding.NamedSharding(mesh, WHOLE),
        )

    def run(
        self,
        subspace: Subspace,
        noise: Noise,
        data: PreparedImages | None = None,
        rows: Int[np.ndarray, " m"] | None = None,
        collect: bool = True,
    ) -> tuple[Sums, Seen]:
        """Pass over all particles, or over `rows` of them, in the order given.

        **Arguments:** `data`: in place of the one given at first (refined poses); same shapes.
        `collect`: False where no M-step follows, which takes less than half of the time.

        Where memory runs out the batches become smaller, for the passes to come as well.

        **Returns:** the sums, and arrays with one row for each particle passed over.
        """
        data = self.data if data is None else data

        def with_batches_of(visits: int) -> tuple[Sums, Seen]:
            if visits != self._batch_visits:
                self._batch_visits, self._compiled = visits, None
                self.batch_size = visits * self.tilts
            return self._run(subspace, noise, data, rows, collect)

        if jax.process_count() > 1:
            # One process that tries again by itself would wait for the others for ever.
            return with_batches_of(self._batch_visits)
        return with_less(with_batches_of, self._batch_visits, len(data.devices), "a pass of EM")

    def _run(
        self,
        subspace: Subspace,
        noise: Noise,
        data: PreparedImages,
        rows: Int[np.ndarray, " m"] | None,
        collect: bool,
    ) -> tuple[Sums, Seen]:
        rows = np.arange(self.visits, dtype=np.int32) if rows is None else rows.astype(np.int32)
        plan = self._plan(rows)
        collected = jnp.asarray(collect)
        table = _table(subspace.grid, self.band)
        if data.resident:
            sums, seen = self._run_resident(
                data.arrays, table, subspace.half, noise, collected, plan
            )
        else:
            parts, sums = [], self._empty(noise.power.shape[0])
            streamed = zip(data.stream(plan), *plan, strict=True)
            for images, step_rows, weight in streamed:
                if self._poll is not None:
                    self._poll()
                sums, part = self._streamed(
                    sums,
                    data.arrays,
                    table,
                    subspace.half,
                    noise,
                    collected,
                    images,
                    step_rows,
                    weight,
                )
                parts.append(part)
                if len(parts) > 1:
                    parts[-2] = fetch(parts[-2])
            parts = [fetch(part) for part in parts]
            seen = jax.tree.map(lambda *x: np.concatenate(x), *parts)
        if not one_device(data.mesh):
            sums = self._add_devices(sums)
        return sums, jax.tree.map(lambda x: x[: len(rows)], seen)

    def compile_ahead(self, groups: int) -> None:
        """Compile the pass over all particles before the first one; may run in another thread.

        **Arguments:** `groups`: of optics.
        """
        if not self.data.resident or not one_device(self.data.mesh):
            return
        here, band = jax.sharding.SingleDeviceSharding(self.data.devices[0]), self.band
        shape, images = (2, band.fields, band.size, band.size, band.size // 2 + 1), len(self.data)

        def estimate() -> tuple[Sums, Array, Noise]:
            noise = Noise(
                jnp.zeros((groups, band.shells)),
                jnp.zeros(images, jnp.int32),
                jnp.zeros((), jnp.int32),
            )
            table = grid_table(jnp.zeros(shape, jnp.complex64), band.shape)
            return empty_sums(band, groups), table, noise

        sums, table, noise = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here),
            jax.eval_shape(estimate),
        )
        plan = (self._whole_steps // self.parts, self.batch_size)
        lowered = self._resident.lower(  # type: ignore[attr-defined]
            sums,
            self.data.arrays,
            table,
            jax.ShapeDtypeStruct((images,), jnp.int32, sharding=here),
            noise,
            jax.ShapeDtypeStruct((), jnp.bool_),
            tuple(jax.ShapeDtypeStruct(plan, kind) for kind in (jnp.int32, jnp.float32)),
        )
        self._compiled = lowered.compile()
        self._compile_rest(groups)

    def _plan(self, rows: Int[np.ndarray, " m"]) -> EpochPlan:
        """Cut particles into batches of images."""
        if self.groups is None:
            return epoch_plan(rows, self._batch_visits)
        return group_plan(rows, self.groups, self._batch_visits)

    def _compile_rest(self, groups: int) -> None:
        """Have what a pass needs beside its loop compiled."""
        shape = (2, self.band.fields, self.band.size, self.band.size, self.band.size // 2 + 1)
        _table(self.data.place(jnp.asarray(np.zeros(shape, np.complex64))), self.band)
        if self.parts > 1:
            _add(*(self._empty(groups) for _ in range(self.parts)))

    @property
    def _whole_steps(self) -> int:
        """Steps of a pass over all particles, a multiple of the parts."""
        steps = -(-self.visits // self._batch_visits)
        return -(-steps // self.parts) * self.parts

    def _run_resident(self, arrays, table, half, noise, collect, plan) -> tuple[Sums, Seen]:
        """Run the parts of a pass side by side and add them up."""
        fill = -len(plan.rows) % self.parts
        rows = np.concatenate([plan.rows, np.repeat(plan.rows[:1], fill, axis=0)])
        weight = np.concatenate([plan.weight, np.zeros((fill, self.batch_size), np.float32)])
        whole = self._compiled is not None and len(rows) == self._whole_steps
        run = self._compiled if whole else self._resident
        assert run is not None
        made = []
        for steps in zip(*(np.split(x, self.parts) for x in (rows, weight)), strict=True):
            sums = self._empty(noise.power.shape[0])
            taken = tuple(jnp.asarray(x) for x in steps)
            made.append(run(sums, arrays, table, half, noise, collect, taken))
        sums = made[0][0] if len(made) == 1 else _add(*(part for part, _ in made))
        seen = jax.tree.map(
            lambda *x: np.concatenate([y.reshape(-1, *y.shape[2:]) for y in x]),
            *(fetch(part) for _, part in made),
        )
        return sums, seen

    def _empty(self, groups: int) -> Sums:
        mesh = self.data.mesh
        if mesh is None or one_device(mesh):
            return self.data.place(no_sums(self.band, groups))
        sums = jax.eval_shape(lambda: empty_sums(self.band, groups))
        spread = jax.sharding.NamedSharding(mesh, SPREAD)
        return jax.tree.map(
            lambda x: jnp.zeros((mesh.size, *x.shape), x.dtype, device=spread), sums
        )

    def _scan(
        self,
        sums: Sums,
        arrays: DeviceData,
        table: Array,
        half: Array,
        noise: Noise,
        collect: Array,
        plan: tuple[Array, Array],
    ) -> tuple[Sums, Seen]:
        def body(sums: Sums, step: tuple[Array, Array]) -> tuple[Sums, Seen]:
            batch = self.data.batch(arrays, *step)
            return self._add(sums, table, batch, half, noise, collect)

        return jax.lax.scan(body, sums, plan)

    def _stream_step(
        self, sums, arrays, table, half, noise: Noise, collect, images, rows, weight
    ) -> tuple[Sums, Seen]:
        batch = self.data.batch_of_images(arrays, images, rows, weight)
        return self._add(sums, table, batch, half, noise, collect)

    def _add(
        self, sums: Sums, table: Array, batch: Batch, half: Array, noise: Noise, collect: Array
    ) -> tuple[Sums, Seen]:
        halves, groups = half[batch.index], noise.group[batch.index]
        add = partial(add_batch, band=self.band, contrast=self.contrast, tilts=self.tilts)
        mesh = self.data.mesh
        if one_device(mesh):
            return add(sums, table, batch, halves, noise, groups, collect)

        def local(sums, table, batch, half, noise, group, collect):
            first = jax.tree.map(lambda x: x[0], sums)
            mine, seen = add(first, table, batch, half, noise, group, collect)
            return jax.tree.map(lambda x: x[None], mine), seen

        return jax.shard_map(
            local,
            mesh=mesh,
            in_specs=(SPREAD, WHOLE, SPREAD, SPREAD, WHOLE, SPREAD, WHOLE),
            out_specs=(SPREAD, SPREAD),
            check_vma=False,
        )(sums, table, batch, halves, noise, groups, collect)


no_sums = partial(jax.jit, static_argnums=(0, 1))(empty_sums)


@partial(jax.jit, static_argnames="band")
def _table(grid: Array, band: Band) -> Array:
    return grid_table(grid, band.shape)


@jax.jit
def _add(*parts: Sums) -> Sums:
    return jax.tree.map(lambda *x: sum(x[1:], x[0]), *parts)

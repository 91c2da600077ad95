"""Passes over a whole set, wherever its images lie: on one device, on several, or on disk."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from vitreous.methods.subspace.expectation import ContrastPrior
from vitreous.methods.subspace.model import Band, Noise, Subspace, grid_table
from vitreous.methods.subspace.sweep import Seen, Sums, add_batch, empty_sums
from vitreous.particles.device_data import SPREAD, WHOLE, DeviceData, one_device
from vitreous.particles.loader import PreparedImages
from vitreous.particles.order import epoch_plan
from vitreous.particles.prepare import Batch


class Passes:
    """Run E-steps over prepared images and collect what they add up to.

    **Arguments:** `data`: with at least the shells of `band`. `batch_size`: images worked on at a
    time, by default what suits CPU or GPU.
    """

    def __init__(
        self,
        data: PreparedImages,
        band: Band,
        contrast: ContrastPrior,
        batch_size: int | None = None,
    ) -> None:
        self.data, self.band, self.contrast = data, band, contrast
        default = 64 if jax.default_backend() == "cpu" else 1024
        self.batch_size = data.batch_size(batch_size or default)
        self._resident = jax.jit(self._scan, donate_argnums=0)
        self._streamed = jax.jit(self._stream_step, donate_argnums=0)

    def run(
        self,
        subspace: Subspace,
        noise: Noise,
        data: PreparedImages | None = None,
        rows: Int[np.ndarray, " m"] | None = None,
        collect: bool = True,
    ) -> tuple[Sums, Seen]:
        """Pass over all images, or over `rows` of them, in the order given.

        **Arguments:** `data`: in place of the one given at first (refined poses); same shapes.
        `collect`: False where no M-step follows, which takes a third of the time.

        **Returns:** the sums, and arrays with one row for each image passed over.
        """
        data = self.data if data is None else data
        rows = np.arange(len(data), dtype=np.int32) if rows is None else rows.astype(np.int32)
        plan = epoch_plan(rows, self.batch_size)
        sums = self._empty(noise.power.shape[0])
        collected = jnp.asarray(collect)
        table = _table(subspace.grid, self.band)
        if data.resident:
            steps = (jnp.asarray(plan.rows), jnp.asarray(plan.weight))
            sums, seen = self._resident(
                sums, data.arrays, table, subspace.half, noise, collected, steps
            )
            seen = jax.tree.map(lambda x: np.asarray(x).reshape(-1, *x.shape[2:]), seen)
        else:
            parts = []
            streamed = zip(data.stream(plan), *plan, strict=True)
            for images, step_rows, weight in streamed:
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
                    parts[-2] = jax.device_get(parts[-2])
            seen = jax.tree.map(lambda *x: np.concatenate([np.asarray(y) for y in x]), *parts)
        if not one_device(data.mesh):
            sums = _add_devices(sums)
        return sums, jax.tree.map(lambda x: x[: len(rows)], seen)

    def _empty(self, groups: int) -> Sums:
        sums = empty_sums(self.band, groups)
        mesh = self.data.mesh
        if one_device(mesh):
            return sums
        assert mesh is not None
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
        add = partial(add_batch, band=self.band, contrast=self.contrast)
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


@partial(jax.jit, static_argnames="band")
def _table(grid: Array, band: Band) -> Array:
    return grid_table(grid, band.shape)


@jax.jit
def _add_devices(sums: Sums) -> Sums:
    return jax.tree.map(lambda x: x.sum(axis=0), sums)

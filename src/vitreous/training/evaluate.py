"""One pass over all particles, in the order of the table: inference after a fit."""

from collections.abc import Callable

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PyTree

from vitreous.particles.device_data import fetch
from vitreous.particles.loader import PreparedImages
from vitreous.particles.memory import with_less
from vitreous.particles.order import Groups
from vitreous.particles.prepare import Batch


def map_images(
    function: Callable[[PyTree, Batch], PyTree],
    parameters: PyTree,
    data: PreparedImages,
    batch_size: int,
    groups: Groups | None = None,
) -> PyTree:
    """Apply a pure function to every batch and join the results, one row a particle.

    **Arguments:** `function(parameters, batch)`: arrays whose first axis is the batch; compiled
    once. `parameters`: any pytree. `groups`: images that come side by side, the tilts of a
    particle; the function then gives one row a group.

    **Returns:** NumPy arrays with `len(data)` rows (or a row a group) in the structure of the
    function's result.
    """

    def run(batch_size: int) -> PyTree:
        return _map_images(function, parameters, data, batch_size, groups)

    if jax.process_count() > 1:
        # One process that tries again by itself would wait for the others for ever.
        return run(batch_size)
    return with_less(run, batch_size, len(data.devices), "a pass over the images")


def _map_images(function, parameters, data: PreparedImages, batch_size: int, groups) -> PyTree:
    plan = data.plan_in_order(batch_size, groups)
    count = len(data) if groups is None else len(groups)
    parameters, rest = eqx.partition(parameters, eqx.is_array)
    if data.resident:
        apply = jax.jit(
            lambda p, arrays, rows, weight: function(
                eqx.combine(p, rest), data.batch(arrays, rows, weight)
            )
        )
        results = (apply(parameters, data.arrays, *step) for step in zip(*plan, strict=True))
    else:
        apply = jax.jit(
            lambda p, arrays, images, rows, weight: function(
                eqx.combine(p, rest), data.batch_of_images(arrays, images, rows, weight)
            )
        )
        steps = zip(data.stream(plan), *plan, strict=True)
        results = (apply(parameters, data.arrays, *step) for step in steps)
    parts = []
    for result in results:
        parts.append(result)
        # One batch behind: results reach the host while the next batch is computed.
        if len(parts) > 1:
            parts[-2] = fetch(parts[-2])
    parts = [fetch(part) for part in parts]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:count], *parts)

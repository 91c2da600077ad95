"""One pass over all particles, in the order of the table: inference after a fit."""

from collections.abc import Callable

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PyTree

from vitreous.particles.loader import PreparedImages
from vitreous.particles.order import epoch_plan
from vitreous.particles.prepare import Batch


def map_images(
    function: Callable[[PyTree, Batch], PyTree],
    parameters: PyTree,
    data: PreparedImages,
    batch_size: int,
) -> PyTree:
    """Apply a pure function to every batch and join the results, one row a particle.

    **Arguments:** `function(parameters, batch)`: arrays whose first axis is the batch; compiled
    once. `parameters`: any pytree.

    **Returns:** NumPy arrays with `len(data)` rows in the structure of the function's result.
    """
    plan = epoch_plan(np.arange(len(data), dtype=np.int32), data.batch_size(batch_size))
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
            parts[-2] = jax.device_get(parts[-2])
    parts = [jax.device_get(part) for part in parts]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[: len(data)], *parts)

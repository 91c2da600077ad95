"""Stop a fit that has gone wrong, with the images at which it did."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, PyTree

from vitreous.errors import InputError
from vitreous.particles.order import EpochPlan
from vitreous.particles.prepare import name_images
from vitreous.particles.table import ParticleTable
from vitreous.training.position import Position

Newest = Callable[[], Position | None]


def check_losses(
    losses: np.ndarray,
    first: int,
    epoch: int,
    plan: EpochPlan,
    table: ParticleTable,
    last: Newest,
) -> None:
    """Refuse a loss that is not finite.

    **Arguments:** `losses`: of successive steps of `plan` from step `first` on. `epoch`: 0-based.
    `last`: tells the newest checkpoint.

    **Raises:** `InputError` naming epoch, step and the images of the batch.
    """
    bad = np.flatnonzero(~np.isfinite(losses))
    if not len(bad):
        return
    step = first + int(bad[0])
    rows = plan.rows[step][plan.weight[step] > 0]
    raise InputError(
        f"training stopped: the loss is {losses[bad[0]]} at epoch {epoch + 1}, "
        f"step {step + 1} of {len(plan.rows)}; the batch: {name_images(table, rows)}. "
        f"{_last_good(last())}; lower the learning rate, or leave images out (--ind)"
    )


def check_weights(arrays: PyTree, position: Position, last: Newest) -> None:
    """Refuse a state with a NaN in it, before it becomes the newest checkpoint.

    **Raises:** `InputError`.
    """
    if bool(_any_nan(arrays)):
        raise InputError(
            f"training stopped: a weight is NaN after epoch {position.epoch}, step "
            f"{position.step} though the loss is finite. {_last_good(last())}; lower the learning "
            "rate"
        )


def _last_good(last: Position | None) -> str:
    if last is None:
        return "No checkpoint was written yet"
    return f"The last good checkpoint is epoch {last.epoch}, step {last.step}"


@jax.jit
def _any_nan(arrays: PyTree) -> Bool[Array, ""]:
    found = jnp.array(False)
    for leaf in jax.tree.leaves(arrays):
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            found = found | jnp.isnan(leaf).any()
    return found

"""EM with an M-step after every block of images, for sets that no pass should wait for.

Sufficient statistics are averaged with decreasing weight (stepwise EM): the normal equations of a
block hold the estimate they were made with, so older ones may be kept when the estimate moves.
"""

import logging
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vitreous.geometry.small_matrices import packed_places
from vitreous.methods.subspace.estimate import Estimate, improve
from vitreous.methods.subspace.maximisation import normal_equations
from vitreous.methods.subspace.model import Band
from vitreous.methods.subspace.passes import Passes
from vitreous.methods.subspace.schedule import Step
from vitreous.particles.order import shuffled_order
from vitreous.reconstruction.insertion import SliceSums

logger = logging.getLogger(__name__)

# Weight of block t: (t + 2)^-EXPONENT; between ½ and 1 for convergence.
_EXPONENT = 0.6


def fit_online(
    passes: Passes,
    estimate: Estimate,
    mask: Float[np.ndarray, "k m m m"],
    steps: list[Step],
    block: int,
    seed: int = 0,
) -> Estimate:
    """Run stepwise EM on half sets: one pass over the images in blocks, shells opening up.

    **Arguments:** `steps`: as of full EM; they are spread over the blocks of the pass.

    **Source:** Cappé & Moulines (2009), online EM for latent data models.
    """
    band, count = passes.band, passes.visits
    order = shuffled_order(count, seed, 0, 1, block)
    blocks = [order[first : first + block] for first in range(0, count, block)]
    repeats = -(-len(steps) // len(blocks))
    blocks = blocks * repeats
    masks, held, last = jnp.asarray(mask), None, -1
    for number, rows in enumerate(blocks):
        step = steps[min(number * len(steps) // len(blocks), len(steps) - 1)]
        shell = jnp.asarray(step.last_shell, jnp.int32)
        estimate = estimate._replace(noise=estimate.noise._replace(last_shell=shell))
        sums, _ = passes.run(estimate.subspace, estimate.noise, rows=rows)
        fresh = _scaled(normal_equations(sums, estimate.subspace.grid, band), count / len(rows))
        # A change of shells starts the average anew.
        rate = 1.0 if held is None or step.last_shell != last else (number + 2) ** -_EXPONENT
        held = fresh if rate == 1.0 else _blend(held, fresh, rate)
        last = step.last_shell
        estimate, _, basis = improve(estimate, sums, held, masks, step.floor, band)
        held = in_new_basis(held, jnp.asarray(np.linalg.inv(basis), jnp.float32), band)
        logger.info("block %d of %d: shells to %d", number + 1, len(blocks), step.last_shell)
    return estimate


def _scaled(equations: SliceSums, factor: float) -> SliceSums:
    return jax.tree.map(lambda x: x * jnp.asarray(factor, x.dtype), equations)


@partial(jax.jit, static_argnames="band")
def in_new_basis(equations: SliceSums, inverse: Float[Array, "2 k k"], band: Band) -> SliceSums:
    """Express normal equations in the coordinates after `mix`.

    **Arguments:** `inverse`: of the basis that `mix` took.
    """
    numerator = jnp.einsum(
        "hkl,hl...->hk...", inverse.astype(equations.numerator.dtype), equations.numerator
    )
    rows, columns = np.tril_indices(band.fields)

    def packed(weight):
        full = weight[:, packed_places(band.fields)]
        return jnp.einsum("hkl,hlm...,hnm->hkn...", inverse, full, inverse)[:, rows, columns]

    return SliceSums(numerator, packed(equations.weight))


def _blend(held: SliceSums | None, fresh: SliceSums, rate: float) -> SliceSums:
    return jax.tree.map(
        lambda a, b: a * jnp.asarray(1 - rate, a.dtype) + b * jnp.asarray(rate, b.dtype),
        held,
        fresh,
    )

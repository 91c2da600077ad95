"""A pass that runs out of memory is taken again in smaller batches, and finds the same."""

import jax
import jax.numpy as jnp
import numpy as np
from planted import BOX, RADIUS, plant, prepared

from vitreous.methods.subspace.estimate import start
from vitreous.methods.subspace.expectation import ContrastPrior
from vitreous.methods.subspace.model import Noise
from vitreous.methods.subspace.passes import Passes
from vitreous.reconstruction.masks import spherical_mask


def test_smaller_batches_where_memory_runs_out():
    planted = plant(60, 2, noise=10.0)
    band, half = planted.band, np.arange(60) % 2
    group, last = jnp.zeros(60, jnp.int32), jnp.int32(band.max_shell)
    noise = Noise(jnp.full((1, band.shells), 10.0), group, last)
    mask = np.stack([spherical_mask(BOX, RADIUS + 1, 1.5)] * band.fields)
    mean = np.stack([planted.volumes[0]] * 2)
    estimate = start(mean, mask, half, noise, band, seed=0)
    passes = Passes(prepared(planted), band, ContrastPrior(), batch_size=16)
    sums, seen = passes.run(estimate.subspace, estimate.noise)

    tight = Passes(prepared(planted), band, ContrastPrior(), batch_size=64)
    whole, asked = tight._resident, []

    def resident(sums, arrays, table, half, noise, collect, plan):
        asked.append(plan[0].shape[1])
        if plan[0].shape[1] > 20:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
        return whole(sums, arrays, table, half, noise, collect, plan)

    tight._resident = resident
    found, again = tight.run(estimate.subspace, estimate.noise)
    assert asked[:3] == [60, 30, 15]
    assert tight.batch_size == 15
    # Sums of float32 in another order.
    for one, other in ((sums.table, found.table), (sums.evidence, found.evidence)):
        np.testing.assert_allclose(one, other, atol=2e-5 * float(np.abs(one).max()))
    np.testing.assert_allclose(seen.mean, again.mean, atol=1e-4)

"""Pass over planted images on one device and on four; print the largest differences as JSON.

Started with `XLA_FLAGS=--xla_force_host_platform_device_count=4`.
"""

import json

import jax.numpy as jnp
import numpy as np
from planted import BOX, RADIUS, plant, prepared

from vitreous.methods.subspace.estimate import start
from vitreous.methods.subspace.expectation import ContrastPrior
from vitreous.methods.subspace.model import Noise
from vitreous.methods.subspace.passes import Passes
from vitreous.reconstruction.masks import spherical_mask
from vitreous.training.mesh import data_mesh


def main() -> None:
    planted = plant(102, 2, noise=10.0)
    band, half = planted.band, np.arange(102) % 2
    mask = np.stack([spherical_mask(BOX, RADIUS + 1, 1.5)] * band.fields)
    noise = Noise(
        jnp.full((1, band.shells), 10.0), jnp.zeros(102, jnp.int32), jnp.int32(band.max_shell)
    )
    mean = np.stack([planted.volumes[0]] * 2)
    estimate = start(mean, mask, half, noise, band, seed=0)
    results = []
    for mesh in (None, data_mesh(4)):
        passes = Passes(prepared(planted, mesh=mesh), band, ContrastPrior(), batch_size=32)
        sums, seen = passes.run(estimate.subspace, estimate.noise)
        results.append(
            {
                "table": np.asarray(sums.table),
                "evidence": np.asarray(sums.evidence),
                "power": np.asarray(sums.power),
                "mean": np.asarray(seen.mean),
                "covariance": np.asarray(seen.covariance),
            }
        )
    one, four = results
    print(
        json.dumps({k: float(np.abs(one[k] - four[k]).max() / np.abs(one[k]).max()) for k in one})
    )


if __name__ == "__main__":
    main()

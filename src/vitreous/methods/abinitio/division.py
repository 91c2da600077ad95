"""One map becomes several: each is divided, and all poses are looked at for every part.

A search for one map lets poses follow what moves most. Maps that differ free them: two copies of
a map, set apart a little by what halves of the images disagree on, drift apart along the strongest
motion within a few iterations over all poses, of few shells and soft.
"""

import jax.numpy as jnp
import numpy as np

from vitreous.methods.abinitio.low_resolution import Estimate, Stage, climb
from vitreous.methods.abinitio.setting import Setting

# What the copies are set apart by, and how they drift.
_APART = Stage(6, 1000, 0.6, 1)
_DRIFT = Stage(6, 1200, 0.7, 9)


def divide(setting: Setting, estimate: Estimate, classes: int) -> Estimate:
    """Double the maps until there are so many.

    **Arguments:** `estimate`: maps that images of `setting` were found to show. `classes`: the
    number of maps of the estimate times a power of two.
    """
    rng = np.random.default_rng((setting.seed, 5))
    everyone = np.arange(len(setting.data))
    while len(estimate.volumes) < classes:
        count = len(estimate.volumes)
        now = setting.with_classes(count)
        parts = [
            climb(now, estimate, mine, (_APART,), (setting.seed, 6, count, half), "division")
            for half, mine in enumerate(np.array_split(rng.permutation(everyone), 2))
        ]
        apart = parts[0].volumes - parts[1].volumes
        volumes = jnp.concatenate([estimate.volumes + apart, estimate.volumes - apart])
        estimate = estimate._replace(volumes=volumes)
        then, seed = setting.with_classes(2 * count), (setting.seed, 7, count)
        estimate = climb(then, estimate, everyone, (_DRIFT,), seed, f"{2 * count} maps")
    return estimate

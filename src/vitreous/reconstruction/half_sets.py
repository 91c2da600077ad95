"""Two independent halves of the particles, so that their maps share no image and no particle."""

import logging

import numpy as np
from jaxtyping import Int

logger = logging.getLogger(__name__)


def half_sets(
    count: int,
    half_set: Int[np.ndarray, " n"] | None = None,
    particle: Int[np.ndarray, " n"] | None = None,
) -> Int[np.ndarray, " n"]:
    """Say which half map each image belongs to.

    **Arguments:** `count`: number of images. `half_set`: halves of an earlier refinement (0 or
    1), which are kept; anything else in it is ignored. `particle`: of which particle an image is
    a tilt; all tilts of a particle stay together.

    **Returns:** int32, 0 or 1. Without `half_set`, particles alternate in order of appearance.
    """
    if particle is None:
        first, owner = np.arange(count), np.arange(count)
    else:
        _, first, owner = np.unique(particle, return_index=True, return_inverse=True)
    if half_set is not None:
        halves = np.asarray(half_set)[first]
        if set(np.unique(halves)) == {0, 1}:
            return halves[owner].astype(np.int32)
        logger.warning("half sets of the particle file are not two: splitting anew")
    order = np.empty(len(first), np.int32)
    order[np.argsort(first, kind="stable")] = np.arange(len(first), dtype=np.int32)
    return order[owner] % 2

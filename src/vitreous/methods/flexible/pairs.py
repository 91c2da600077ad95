"""Images of the two half sets side by side, so that one step trains both halves' models."""

import numpy as np
from jaxtyping import Int

from vitreous.particles.order import Groups


def paired_images(half: Int[np.ndarray, " n"], seed: int, epoch: int) -> Groups:
    """Pair every image with one of the other half, anew in every epoch.

    Where a half has fewer images, some of its are seen twice: neither half waits for the other.
    """
    generator = np.random.Generator(np.random.Philox(key=[seed + 1, epoch]))
    orders = [generator.permutation(np.flatnonzero(half == side)) for side in range(2)]
    count = max(len(order) for order in orders)
    rows = np.stack([np.resize(order, count) for order in orders], axis=1).astype(np.int32)
    return Groups(rows, np.ones(rows.shape, np.float32))

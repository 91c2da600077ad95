"""The order in which an epoch visits the images: a function of seed and epoch alone."""

from typing import NamedTuple

import numpy as np


class EpochPlan(NamedTuple):
    """List the images of every step of an epoch.

    Fields: `rows` int32 `(steps, batch)`. `weight` float32 `(steps, batch)`: 0 where a row only
    fills up the last batch. Filling rows are the first ones of the order, so that no row stands
    twice in a batch unless the whole set is smaller than a batch.
    """

    rows: np.ndarray
    weight: np.ndarray


def shuffled_order(
    count: int, seed: int, epoch: int, chunk: int = 1, buffer: int = 8192
) -> np.ndarray:
    """Permute `0 … count − 1` for one epoch.

    With `chunk > 1`, runs of `chunk` neighbouring images are permuted as wholes, then single
    images are permuted inside windows of `buffer` images. Whoever reads a window at once reads
    whole runs, while the runs of a window come from the whole set: a batch of `b` images holds
    neighbours as seldom as `b · chunk / buffer` says. Every epoch cuts the set into runs at
    another offset, so neighbours are not tied together for ever.

    **Returns:** int32 `(count,)`; every image once. The same arguments give the same order
    whatever was drawn before, so a resumed run needs no generator state.
    """
    generator = np.random.Generator(np.random.Philox(key=[seed, epoch]))
    if chunk <= 1:
        return generator.permutation(count).astype(np.int32)
    offset = int(generator.integers(chunk))
    starts = np.arange(offset - chunk, count, chunk)
    starts = generator.permutation(starts)
    order = (starts[:, None] + np.arange(chunk)).ravel()
    order = order[(order >= 0) & (order < count)].astype(np.int32)
    for first in range(0, count, buffer):
        order[first : first + buffer] = generator.permutation(order[first : first + buffer])
    return order


def epoch_plan(order: np.ndarray, batch_size: int) -> EpochPlan:
    """Cut an order into batches of one size, the last one filled up with weight 0."""
    count = len(order)
    steps = -(-count // batch_size)
    rows = np.resize(order, steps * batch_size).astype(np.int32)
    weight = (np.arange(steps * batch_size) < count).astype(np.float32)
    return EpochPlan(rows.reshape(steps, batch_size), weight.reshape(steps, batch_size))

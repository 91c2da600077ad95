"""The order in which an epoch visits the images: a function of seed and epoch alone."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int, Int32


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
        # Numbers of the size that is kept: of 64 bits they would take three times the room.
        return generator.permutation(np.arange(count, dtype=np.int32))
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
    fill = steps * batch_size - count
    rows = np.concatenate([order, np.resize(order, fill)]).astype(np.int32, copy=False)
    weight = np.ones(steps * batch_size, np.float32)
    weight[count:] = 0
    return EpochPlan(rows.reshape(steps, batch_size), weight.reshape(steps, batch_size))


class Groups(NamedTuple):
    """List the images that belong in one batch together: the tilts of each particle.

    Fields: `rows` int32 `(groups, size)`: filled up with the first image of the group where it
    has fewer. `weight` float32: 0 there.
    """

    rows: Int32[np.ndarray, "g t"]
    weight: Float32[np.ndarray, "g t"]

    @property
    def size(self) -> int:
        """Images in each group, filling ones included."""
        return self.rows.shape[1]

    def __len__(self) -> int:
        return len(self.rows)


def group_images(owner: Int[np.ndarray, " n"], rank: Int[np.ndarray, " n"]) -> Groups:
    """Gather images by owner, in the order of their rank.

    **Arguments:** `owner`: any numbers; groups come in ascending order of them. `rank`: place of
    an image in its group, every number from 0 once.
    """
    _, group = np.unique(owner, return_inverse=True)
    count, size = int(group.max()) + 1, int(rank.max()) + 1
    rows = np.full((count, size), -1, np.int32)
    rows[group, rank] = np.arange(len(owner))
    weight = (rows >= 0).astype(np.float32)
    return Groups(np.where(rows >= 0, rows, rows[:, :1]).astype(np.int32), weight)


def first_of_groups(groups: Groups, size: int) -> Groups:
    """Keep the first `size` images of each group."""
    return Groups(groups.rows[:, :size], groups.weight[:, :size])


def draw_from_groups(groups: Groups, size: int, seed: int, epoch: int) -> Groups:
    """Draw `size` images of each group for one epoch, without repeats, in the group's order.

    Filling images come last.
    """
    if size >= groups.size:
        return groups
    generator = np.random.Generator(np.random.Philox(key=[seed, epoch]))
    lot = generator.random(groups.rows.shape) + (groups.weight == 0)
    chosen = np.sort(np.argsort(lot, axis=1)[:, :size], axis=1)
    rows, weight = (np.take_along_axis(field, chosen, axis=1) for field in groups)
    return Groups(rows, weight)


def group_plan(order: np.ndarray, groups: Groups, count: int) -> EpochPlan:
    """Cut an order of groups into batches of `count` groups, the images of each side by side."""
    plan = epoch_plan(order, count)
    steps = len(plan.rows)
    rows = groups.rows[plan.rows].reshape(steps, -1)
    weight = (groups.weight[plan.rows] * plan.weight[:, :, None]).reshape(steps, -1)
    return EpochPlan(rows, weight)

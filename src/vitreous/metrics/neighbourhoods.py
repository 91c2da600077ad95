"""How alike two spaces are around each point, over neighbourhoods of many sizes."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from vitreous.metrics.neighbours import nearest_neighbours


class NeighbourhoodCurve(NamedTuple):
    """Hold the similarity at each size `k`: mean and deviation over the subsets, and chance."""

    k: list[int]
    mean: Float[np.ndarray, " sizes"]
    deviation: Float[np.ndarray, " sizes"]
    chance: Float[np.ndarray, " sizes"]


def neighbourhood_curve(
    first: Float[np.ndarray, "n d"],
    second: Float[np.ndarray, "n e"],
    sizes: Sequence[int] = tuple(range(200, 4001, 200)),
    subsets: int = 5,
) -> NeighbourhoodCurve:
    """Measure which share of its `k` nearest neighbours a point keeps from one space to another.

    The points are dealt out to `subsets` interleaved parts, and each is measured by itself. Sizes
    that a part cannot hold are left out.

    **Source:** CryoBench, neighbourhood similarity: k = 200 … 4000 of five parts of 20 %.
    """
    parts = [np.arange(s, len(first), subsets) for s in range(subsets)]
    smallest = min(map(len, parts))
    kept = [k for k in sizes if k < smallest]
    if not kept:
        kept = [max(1, smallest // 5)] if smallest > 1 else []
    values = np.zeros((subsets, len(kept)))
    for row, part in zip(values, parts, strict=True):
        if not kept:
            break
        near = [nearest_neighbours(p[part], kept[-1]) for p in (first, second)]
        row[:] = _shared(near[0], near[1], kept)
    chance = np.array([k / (smallest - 1) for k in kept], np.float64)
    return NeighbourhoodCurve(kept, values.mean(axis=0), values.std(axis=0), chance)


def _shared(
    first: np.ndarray, second: np.ndarray, sizes: Sequence[int], batch: int = 1000
) -> np.ndarray:
    """Share of common neighbours among the first `k`, for each size."""
    n, most = first.shape
    common = np.zeros(len(sizes))
    for start in range(0, n, batch):
        one, two = first[start : start + batch], second[start : start + batch]
        # Where each neighbour of one list stands in the other: `most` if nowhere.
        place = np.full((len(one), n), most, np.int32)
        place[np.arange(len(one))[:, None], two] = np.arange(most)
        found = np.take_along_axis(place, one, axis=1)
        common += [np.sum(found[:, :k] < k) / k for k in sizes]
    return common / n

"""Shortest paths through the nearest-neighbour graph of a latent space: from particle to particle.

The graph and its cut-off follow cryoDRGN, so the same anchors give the same path.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int
from scipy.sparse.csgraph import dijkstra

from vitreous.analysis.paths import check_anchors
from vitreous.errors import InputError


@dataclass(frozen=True)
class NeighbourGraph:
    """A directed graph: `weights[i, j]` is the distance from `i` to a near neighbour `j`."""

    weights: scipy.sparse.csr_array
    cutoff: float


@dataclass(frozen=True)
class GraphPath:
    """A path: rows of the latent from anchor to anchor, and the length of each segment."""

    index: Int[np.ndarray, " p"]
    lengths: Float[np.ndarray, " segments"]


def neighbour_graph(
    z: Float[np.ndarray, "n d"],
    max_neighbours: int = 10,
    average_neighbours: float = 5.0,
    batch: int = 1000,
    progress: Callable[[int, int], None] | None = None,
) -> NeighbourGraph:
    """Link each point to its nearest ones, no further than one cut-off for all.

    **Arguments:** `max_neighbours`: links a point at most, the point itself counted.
    `average_neighbours`: the cut-off leaves this many on average, the point itself counted.

    **Raises:** `InputError` if the numbers do not fit.
    """
    n = len(z)
    if not 1 <= average_neighbours <= max_neighbours:
        raise InputError(
            f"--avg-neighbors {average_neighbours} must lie between 1 and --max-neighbors "
            f"{max_neighbours}"
        )
    if not 2 <= max_neighbours <= n:
        raise InputError(
            f"--max-neighbors {max_neighbours} must lie between 2 and {n}, the number of points"
        )
    points = z.astype(np.float64)
    square = np.sum(points**2, axis=1)
    near = np.empty((n, max_neighbours), np.int64)
    distance = np.empty((n, max_neighbours), np.float64)
    for start in range(0, n, batch):
        rows = slice(start, min(start + batch, n))
        d2 = square[rows, None] + square[None] - 2 * points[rows] @ points.T
        # A point is its own first neighbour, whatever rounding says.
        d2[np.arange(d2.shape[0]), np.arange(n)[rows]] = -1
        part = np.argpartition(d2, max_neighbours - 1, axis=1)[:, :max_neighbours]
        order = np.argsort(np.take_along_axis(d2, part, axis=1), axis=1, kind="stable")
        near[rows] = np.take_along_axis(part, order, axis=1)
        found = np.take_along_axis(d2, near[rows], axis=1)
        distance[rows] = np.sqrt(np.maximum(found, 0))
        if progress is not None:
            progress(rows.stop, n)
    links = int(n * average_neighbours)
    cutoff = np.inf
    if links < distance.size:
        cutoff = float(np.partition(distance.ravel(), links)[links])
    keep = (distance <= cutoff) & (near != np.arange(n)[:, None])
    # Twins at distance zero are linked, but SciPy reads a stored zero as no link.
    lengths = np.maximum(distance, 1e-12)
    row = np.broadcast_to(np.arange(n)[:, None], near.shape)
    weights = scipy.sparse.csr_array((lengths[keep], (row[keep], near[keep])), shape=(n, n))
    return NeighbourGraph(weights, cutoff)


def graph_path(graph: NeighbourGraph, anchors: Int[np.ndarray, " a"]) -> GraphPath:
    """Find the shortest path that visits the anchors in order.

    **Raises:** `InputError` if an anchor is no point, or cannot be reached.
    """
    check_anchors(anchors, graph.weights.shape[0])
    if len(anchors) < 2:
        raise InputError("a path needs two anchors or more")
    path, lengths = [int(anchors[0])], []
    for first, last in itertools.pairwise(anchors):
        distance, before = dijkstra(graph.weights, indices=first, return_predecessors=True)
        if not np.isfinite(distance[last]):
            raise InputError(
                f"no path from {first} to {last}: the graph falls apart at the cut-off "
                f"{graph.cutoff:.4g}; raise --avg-neighbors and --max-neighbors"
            )
        segment = [int(last)]
        while segment[-1] != first:
            segment.append(int(before[segment[-1]]))
        path += segment[-2::-1]
        lengths.append(float(distance[last]))
    return GraphPath(np.asarray(path, np.int64), np.asarray(lengths, np.float64))

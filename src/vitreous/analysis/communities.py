"""Communities of points by Leiden's algorithm on their nearest-neighbour graph."""

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int
from sklearn.neighbors import NearestNeighbors

from vitreous.errors import InputError


def leiden_communities(
    points: Float[np.ndarray, "n d"],
    neighbours: int = 50,
    resolution: float = 1.5,
    seed: int = 0,
    largest: int = 100_000,
) -> Int[np.ndarray, " n"]:
    """Cut points into communities of high modularity, the largest first.

    **Arguments:** `neighbours`: of each point in the graph. `resolution`: more communities when
    higher. `largest`: above this many points a random subset is cut, and the others follow the
    nearest point of it.

    **Source:** Traag, Waltman & van Eck (2019) Sci. Rep. 9, 5233.
    """
    if resolution <= 0:
        raise InputError(f"--resolution {resolution:g}: must be positive")
    n = len(points)
    if n < 3:
        return np.zeros(n, np.int64)
    if n > largest:
        few = np.sort(np.random.default_rng(seed).permutation(n)[:largest])
        labels = leiden_communities(points[few], neighbours, resolution, seed, largest)
        tree = NearestNeighbors(n_neighbors=1).fit(points[few])
        return labels[tree.kneighbors(points, return_distance=False)[:, 0]]
    from graspologic_native import leiden_csr

    k = min(neighbours, n - 1)
    near = NearestNeighbors(n_neighbors=k).fit(points).kneighbors(return_distance=False)
    ones = np.ones(near.size)
    graph = scipy.sparse.csr_array((ones, (np.repeat(np.arange(n), k), near.ravel())), (n, n))
    graph = graph.maximum(graph.T).tocsr()
    _, found = leiden_csr(
        graph.indptr.astype(np.int64),
        graph.indices.astype(np.int32),
        graph.data.astype(np.float64),
        n,
        resolution=resolution,
        seed=seed,
        iterations=2,
    )
    labels = np.array([found[node] for node in range(n)], np.int64)
    order = np.argsort(-np.bincount(labels), kind="stable")
    return np.argsort(order)[labels]

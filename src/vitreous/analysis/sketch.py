"""Some particles that cover a latent space, each standing for those about it."""

import numpy as np
from jaxtyping import Float, Int
from sklearn.cluster import KMeans

from vitreous.analysis.clusters import Clusters

# Points k-means looks at: more do not move a thousand centres.
_LARGEST = 100_000


def sketch_latent(
    z: Float[np.ndarray, "n d"],
    count: int,
    seed: int = 0,
    chosen: Int[np.ndarray, " k"] | None = None,
) -> Clusters:
    """Choose particles that cover a latent space, and say which of them stands for each other.

    **Arguments:** `chosen`: rows to use instead; every particle goes to the nearest.
    """
    if chosen is None:
        few = z
        if len(z) > _LARGEST:
            few = z[np.sort(np.random.default_rng(seed).permutation(len(z))[:_LARGEST])]
        count = min(count, len(np.unique(few, axis=0)))
        means = KMeans(count, random_state=seed, n_init=1, max_iter=50).fit(few).cluster_centers_
        chosen = np.unique(_nearest(means.astype(np.float32), z))
    labels = _nearest(z, z[chosen])
    labels[chosen] = np.arange(len(chosen))
    return Clusters(labels, z[chosen], chosen.astype(np.int64))


def _nearest(points: np.ndarray, centres: np.ndarray, batch: int = 8192) -> np.ndarray:
    square = np.sum(centres**2, axis=1)
    parts = [
        np.argmin(square - 2 * points[k : k + batch] @ centres.T, axis=1)
        for k in range(0, len(points), batch)
    ]
    return np.concatenate(parts).astype(np.int64)

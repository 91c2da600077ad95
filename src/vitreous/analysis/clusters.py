"""k-means clusters of a latent space, centred on particles and put in an order that makes sense."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.cluster.hierarchy import leaves_list, linkage
from sklearn.cluster import KMeans


@dataclass(frozen=True)
class Clusters:
    """Hold each point's cluster (0-based), and the particle that stands for each cluster."""

    labels: Int[np.ndarray, " n"]
    centres: Float[np.ndarray, "k d"]
    centre_index: Int[np.ndarray, " k"]

    def __len__(self) -> int:
        return len(self.centres)

    @property
    def sizes(self) -> Int[np.ndarray, " k"]:
        """Count the points of each cluster."""
        return np.bincount(self.labels, minlength=len(self))


def cluster(z: Float[np.ndarray, "n d"], k: int, seed: int = 0) -> Clusters:
    """Cut a latent space into `k` clusters.

    Each centre is moved to the nearest particle of its own cluster, so that a decoded centre
    lies where there are data. Clusters are numbered along the leaves of a hierarchical tree
    (average linkage, optimal leaf order): neighbours in number are neighbours in space.

    **Arguments:** `k`: at most the number of distinct points is used.
    """
    k = min(k, len(np.unique(z, axis=0)))
    means = KMeans(k, random_state=seed, n_init=3).fit(z.astype(np.float64))
    labels = means.labels_.astype(np.int64)
    distance = np.linalg.norm(z - means.cluster_centers_[labels], axis=1)
    nearest_first = np.lexsort((distance, labels))
    _, first = np.unique(labels[nearest_first], return_index=True)
    index = nearest_first[first]
    if k > 2:
        order = leaves_list(linkage(z[index].astype(np.float64), "average", optimal_ordering=True))
        # Of the two ways to read the leaves, begin at the end with the smaller first coordinate.
        if z[index[order[0]], 0] > z[index[order[-1]], 0]:
            order = order[::-1]
        rank = np.empty(k, np.int64)
        rank[order] = np.arange(k)
        labels, index = rank[labels], index[order]
    return Clusters(labels, z[index].astype(np.float32), index.astype(np.int64))

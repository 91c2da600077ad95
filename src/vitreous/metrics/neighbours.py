"""What a point's nearest neighbours in latent space tell about it: state, value, company."""

import numpy as np
from jaxtyping import Float, Int
from sklearn.neighbors import NearestNeighbors


def nearest_neighbours(points: Float[np.ndarray, "n d"], k: int) -> Int[np.ndarray, "n k"]:
    """List the `k` nearest other points of each point, nearest first (Euclidean)."""
    found = NearestNeighbors(n_neighbors=k + 1).fit(points).kneighbors(return_distance=False)
    # kneighbors() without points already leaves the point itself out.
    return found[:, :k].astype(np.int64)


def state_accuracy(
    latent: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"], k: int = 15
) -> float:
    """Predict each point's state by the majority of its `k` nearest neighbours.

    Leave-one-out: a point does not vote for itself. Ties go to the lowest label.

    **Returns:** fraction predicted right, [0, 1].
    """
    states, codes = np.unique(labels, return_inverse=True)
    votes = codes[nearest_neighbours(latent, k)]
    counts = np.stack([np.sum(votes == s, axis=1) for s in range(len(states))], axis=1)
    return float(np.mean(np.argmax(counts, axis=1) == codes))


def neighbour_r2(
    latent: Float[np.ndarray, "n d"], truth: Float[np.ndarray, "n c"], k: int = 15
) -> float:
    """Explain `truth` by its mean over the `k` nearest neighbours (leave-one-out).

    For an angle, give its cosine and sine as two columns.

    **Returns:** coefficient of determination R², 1 at best; about `−1/k` for unrelated points.
    """
    predicted = truth[nearest_neighbours(latent, k)].mean(axis=1)
    residual = np.sum((truth - predicted) ** 2)
    return float(1 - residual / np.sum((truth - truth.mean(axis=0)) ** 2))


def neighbourhood_similarity(
    first: Float[np.ndarray, "n d"], second: Float[np.ndarray, "n e"], k: int
) -> float:
    """Measure how many of a point's `k` nearest neighbours two spaces share.

    **Returns:** mean of `|A ∩ B| / k`, [0, 1]; `k / (n − 1)` by chance.

    **Source:** Boggust et al. (2022), as used in CryoBench.
    """
    both = np.concatenate([nearest_neighbours(p, k) for p in (first, second)], axis=1)
    both.sort(axis=1)
    return float(np.mean(np.sum(both[:, 1:] == both[:, :-1], axis=1)) / k)

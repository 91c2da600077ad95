"""Which of two descriptions of the same points predicts the other: information imbalance."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

Distances = Float[np.ndarray, "n n"]


class Imbalance(NamedTuple):
    """Hold both directions: 0 where the first predicts the second wholly, 1 where not at all."""

    forward: float
    backward: float


def information_imbalance(first: Distances, second: Distances, k: int = 1) -> Imbalance:
    """Compare two sets of distances between the same points.

    `Δ(A → B) = 2 / n · ⟨rank in B | among the k nearest in A⟩`: the rank, from 1, that a nearest
    neighbour in A has among all neighbours in B.

    **Arguments:** `first`, `second`: distances `(n, n)`; ties take their mean rank, so that a
    description that says nothing scores 1.

    **Source:** Glielmo, Zeni, Cheng, Csányi & Laio (2022) PNAS Nexus 1, pgac039, eq. 2.
    """
    ranks = [neighbour_ranks(d) for d in (first, second)]
    return Imbalance(mean_rank(ranks[0], ranks[1], k)[0], mean_rank(ranks[1], ranks[0], k)[0])


def euclidean_distances(points: Float[np.ndarray, "n d"]) -> Distances:
    """Return the distance of every two points."""
    from scipy.spatial.distance import cdist

    return cdist(points, points)


def rotation_distances(rotation: Float[np.ndarray, "n 3 3"]) -> Distances:
    """Return the angle in degrees between every two rotations."""
    flat = rotation.reshape(len(rotation), 9).astype(np.float64)
    return np.degrees(np.arccos(np.clip((flat @ flat.T - 1) / 2, -1, 1)))


def view_distances(rotation: Float[np.ndarray, "n 3 3"]) -> Distances:
    """Return the angle in degrees between every two viewing directions."""
    axis = rotation[:, 2].astype(np.float64)
    return np.degrees(np.arccos(np.clip(axis @ axis.T, -1, 1)))


def neighbour_ranks(distance: Distances) -> Float[np.ndarray, "n n"]:
    """Rank each point's neighbours from 1, ties by their mean; the point itself gets infinity."""
    from scipy.stats import rankdata

    far = distance.astype(np.float64).copy()
    np.fill_diagonal(far, np.inf)
    ranks = rankdata(far, axis=1)
    np.fill_diagonal(ranks, np.inf)
    return ranks


def mean_rank(
    ranks: Float[np.ndarray, "n n"],
    others: Float[np.ndarray, "n n"],
    k: int = 1,
    shuffles: int = 0,
    seed: int = 0,
) -> tuple[float, Float[np.ndarray, " shuffles"]]:
    """Return `Δ(A → B)` from the neighbour ranks in A and in B; see `information_imbalance`.

    **Returns:** the value, and what it is when the points of B are in random order, so many times:
    what chance gives.
    """
    n = len(ranks)
    kth = np.partition(ranks, k - 1, axis=1)[:, k - 1]
    # All that tie with the k-th are asked, each counting alike.
    point, near = np.nonzero(ranks <= kth[:, None])
    weight = 2 / n**2 / np.bincount(point, minlength=n)[point]
    generator = np.random.default_rng(seed)
    by_chance = []
    for _ in range(shuffles):
        order = generator.permutation(n)
        by_chance.append(np.sum(weight * others[order[point], order[near]]))
    return float(np.sum(weight * others[point, near])), np.array(by_chance, np.float64)

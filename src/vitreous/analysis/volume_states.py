"""States of volumes: a hierarchical tree of what they look like, cut."""

from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from scipy.cluster.hierarchy import fcluster, leaves_list, linkage
from scipy.spatial.distance import squareform

Linkage = Literal["average", "complete", "single", "ward"]


def cut_into_states(
    distance: Float[np.ndarray, "m m"], count: int, method: Linkage = "average"
) -> Int[np.ndarray, " m"]:
    """Cluster volumes by a hierarchical tree.

    States are numbered from 0 along the leaves of a tree of the states themselves, in optimal
    order: neighbours in number look alike.
    """
    if len(distance) < 2:
        return np.zeros(len(distance), np.int64)
    tree = linkage(squareform(distance, checks=False), method)
    labels = fcluster(tree, min(count, len(distance)), "maxclust") - 1
    member = np.eye(labels.max() + 1)[labels]
    member /= member.sum(axis=0)
    apart = member.T @ distance @ member
    if len(apart) < 3:
        return labels.astype(np.int64)
    np.fill_diagonal(apart, 0)
    leaves = leaves_list(linkage(squareform(apart, checks=False), "average", optimal_ordering=True))
    return np.argsort(leaves)[labels].astype(np.int64)

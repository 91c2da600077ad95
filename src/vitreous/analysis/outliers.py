"""How far out of the crowd each particle lies in a latent space."""

import numpy as np
from jaxtyping import Float
from sklearn.neighbors import NearestNeighbors


def outlier_score(
    z: Float[np.ndarray, "n d"], k: int = 20, largest: int = 20_000, seed: int = 0
) -> Float[np.ndarray, " n"]:
    """Score each point by how much sparser it lies than its own neighbours do.

    The local outlier factor: about 1 within the crowd, whatever its density there; a particle
    that scores 2 lies twice as far from its neighbours as they from theirs. Coordinates count in
    the units of the latent.

    **Arguments:** `k`: neighbours asked; at most `n − 1`. `largest`: above this many points a
    random subset is the crowd.

    **Source:** Breunig et al. (2000) LOF, eqs. 5 to 7.
    """
    crowd = np.arange(len(z))
    if len(z) > largest:
        crowd = np.sort(np.random.default_rng(seed).permutation(len(z))[:largest])
    k = min(k, len(crowd) - 1)
    if k < 1:
        return np.ones(len(z), np.float32)
    tree = NearestNeighbors(n_neighbors=k).fit(z[crowd])
    distance, near = tree.kneighbors()
    # Twins have no distance at all: their density is large, not infinite.
    floor = 1e-10 * max(float(distance.max()), 1e-30)

    def density_of(distance: np.ndarray, near: np.ndarray) -> np.ndarray:
        return 1 / np.maximum(np.maximum(distance, reach[near]).mean(axis=1), floor)

    reach = distance[:, -1]
    density = density_of(distance, near)
    score = np.empty(len(z), np.float32)
    score[crowd] = density[near].mean(axis=1) / density
    others = np.setdiff1d(np.arange(len(z)), crowd)
    if others.size:
        distance, near = tree.kneighbors(z[others])
        score[others] = density[near].mean(axis=1) / density_of(distance, near)
    return score

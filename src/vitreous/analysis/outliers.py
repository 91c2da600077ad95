"""How far out of the crowd each particle lies in a latent space."""

import numpy as np
from jaxtyping import Float
from sklearn.neighbors import NearestNeighbors


def outlier_score(z: Float[np.ndarray, "n d"], k: int = 20) -> Float[np.ndarray, " n"]:
    """Score each point by how much sparser it lies than its own neighbours do.

    The local outlier factor: about 1 within the crowd, whatever its density there; a particle
    that scores 2 lies twice as far from its neighbours as they from theirs. Coordinates count in
    the units of the latent.

    **Arguments:** `k`: neighbours asked; at most `n − 1`.

    **Source:** Breunig et al. (2000) LOF, eqs. 5 to 7.
    """
    k = min(k, len(z) - 1)
    if k < 1:
        return np.ones(len(z), np.float32)
    distance, near = NearestNeighbors(n_neighbors=k).fit(z).kneighbors()
    reach = np.maximum(distance, distance[near, -1])
    # Twins have no distance at all: their density is large, not infinite.
    floor = 1e-10 * max(float(distance.max()), 1e-30)
    density = 1 / np.maximum(reach.mean(axis=1), floor)
    return (density[near].mean(axis=1) / density).astype(np.float32)

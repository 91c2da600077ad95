"""How many coordinates a cloud of points really needs."""

import numpy as np
from jaxtyping import Float
from sklearn.neighbors import NearestNeighbors


def intrinsic_dimension(
    points: Float[np.ndarray, "n d"], discard: float = 0.1, largest: int = 50_000
) -> float:
    """Estimate the dimension of the manifold that points lie on, from two neighbours of each.

    Where density is even over the second neighbour's distance, the ratio `μ = r₂ / r₁` follows
    `1 − F(μ) = μ^(−d)`. Noise in all coordinates raises the value at small distances.

    **Arguments:** `discard`: share of the largest ratios left out. `largest`: points asked, a
    regular subset of more.

    **Returns:** `d`; NaN for fewer than 10 distinct points.

    **Source:** Facco, d'Errico, Rodriguez & Laio (2017) Sci. Rep. 7, 12140 (TWO-NN).
    """
    points = np.unique(points[:: max(1, -(-len(points) // largest))], axis=0)
    if len(points) < 10:
        return float("nan")
    distance, _ = NearestNeighbors(n_neighbors=2).fit(points).kneighbors()
    ratio = np.sort(distance[:, 1] / distance[:, 0])
    kept = round((1 - discard) * len(ratio))
    x = np.log(ratio[:kept])
    y = -np.log1p(-np.arange(1, kept + 1) / (len(ratio) + 1))
    return float(np.dot(x, y) / np.dot(x, x))

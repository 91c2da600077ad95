"""How well a latent coordinate follows a true continuous one, on a line or on a circle."""

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
import scipy.stats
from jaxtyping import Float
from sklearn.neighbors import NearestNeighbors

from vitreous.metrics.neighbours import nearest_neighbours


def spearman(first: Float[np.ndarray, " n"], second: Float[np.ndarray, " n"]) -> float:
    """Correlate ranks: ±1 for any monotone relation."""
    ranks = [scipy.stats.rankdata(x) for x in (first, second)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def circular_correlation(first: Float[np.ndarray, " n"], second: Float[np.ndarray, " n"]) -> float:
    """Correlate two angles in degrees; ±1 when they differ by a fixed turn (or reflection).

    **Source:** Fisher & Lee (1983) Biometrika 70, 327, eq. 2: needs no mean direction, so it is
    defined for angles that fill the circle.
    """
    u, v = (np.exp(1j * np.deg2rad(x)) for x in (first, second))

    def resultant(x: np.ndarray) -> float:
        return float(np.abs(np.mean(x)) ** 2)

    # Σ_{i<j} sin(a_i − a_j) sin(b_i − b_j), written as squared resultants.
    cross = resultant(u * v.conj()) - resultant(u * v)
    scale = (1 - resultant(u * u)) * (1 - resultant(v * v))
    return float(cross / np.sqrt(scale)) if scale > 0 else 0.0


def circular_rank_correlation(
    first: Float[np.ndarray, " n"], second: Float[np.ndarray, " n"]
) -> float:
    """Correlate the order of two angles around their circles; ±1 for any cyclic-monotone relation.

    Angles become uniform scores `360° rank / n` (ties share their mean rank) before
    `circular_correlation`: the circle's counterpart of Spearman's coefficient.

    **Source:** Fisher & Lee (1982), uniform scores of Mardia (1975).
    """
    scores = [360 * scipy.stats.rankdata(np.mod(x, 360)) / len(x) for x in (first, second)]
    return circular_correlation(scores[0], scores[1])


def plane_angle(points: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
    """Give each point's angle, degrees, in the plane of the two largest principal components."""
    centred = points - points.mean(axis=0)
    axes = np.linalg.svd(centred.T @ centred)[0][:, :2]
    x, y = (centred @ axes).T
    return np.rad2deg(np.arctan2(y, x))


def graph_coordinates(
    points: Float[np.ndarray, "n d"], count: int = 2, k: int = 15, largest: int = 20_000
) -> Float[np.ndarray, "n count"]:
    """Unroll a curved cloud: leading harmonics of its nearest-neighbour graph.

    On a bent line the first harmonic orders the points from end to end; on a closed loop the
    first two are cosine and sine along it. No truth is used.

    **Arguments:** `largest`: above this many points a regular subset is solved and the others
    take their nearest solved point's value.

    **Source:** Belkin & Niyogi (2003) Laplacian eigenmaps, normalised Laplacian.
    """
    step = max(1, -(-len(points) // largest))
    subset = points[::step]
    n = len(subset)
    neighbour = nearest_neighbours(subset, min(k, n - 1))
    row = np.repeat(np.arange(n), neighbour.shape[1])
    graph = scipy.sparse.csr_array((np.ones(row.size), (row, neighbour.ravel())), shape=(n, n))
    graph = graph.maximum(graph.T)
    root = 1 / np.sqrt(graph.sum(axis=1))
    normalised = scipy.sparse.diags_array(root) @ graph @ scipy.sparse.diags_array(root)
    # Largest eigenvalues of the normalised adjacency are the smoothest harmonics.
    start = np.random.default_rng(0).standard_normal(n)
    values, vectors = scipy.sparse.linalg.eigsh(normalised, k=count + 1, which="LA", v0=start)
    harmonics = (vectors * root[:, None])[:, np.argsort(values)[::-1][1:]]
    harmonics = harmonics / np.std(harmonics, axis=0)
    if step == 1:
        return harmonics
    nearest = NearestNeighbors(n_neighbors=1).fit(subset).kneighbors(points, return_distance=False)
    return harmonics[nearest[:, 0]]

"""Images in rings around a place of a latent space, the nearest innermost.

The place is a point or a selection of images.
"""

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import KDTree

RINGS = 10
# Images the innermost ring holds at least, or this share of them.
_FEWEST, _SHARE = 60, 0.02
# Members of a selection that stand for all of it when distances from it are measured.
_MEMBERS = 2000


def latent_distance(
    latent: Float[np.ndarray, "n d"],
    covariance: Float[np.ndarray, "n d d"] | None,
    point: Float[np.ndarray, " d"] | Float[np.ndarray, "n d"],
) -> Float[np.ndarray, " n"]:
    """Measure how far each latent lies from a point.

    **Arguments:** `point`: one for all, or one for each. `covariance`: uncertainty of each latent;
    distances then count in units of it (Mahalanobis). Without it they count in units of the spread
    of all latents.
    """
    step = latent.astype(np.float64) - point.astype(np.float64)
    if covariance is None:
        scale = np.sqrt(np.maximum(latent.astype(np.float64).var(0), 1e-12))
        # One scale for all axes: a latent space has its own geometry.
        return np.linalg.norm(step, axis=1) / scale.max()
    solved = np.linalg.solve(covariance.astype(np.float64), step[..., None])[..., 0]
    return np.sqrt(np.maximum(np.einsum("nd,nd->n", step, solved), 0))


def selection_distance(
    latent: Float[np.ndarray, "n d"],
    covariance: Float[np.ndarray, "n d d"] | None,
    chosen: Bool[np.ndarray, " n"],
) -> Float[np.ndarray, " n"]:
    """Measure how far each latent lies from those of a selection: from the nearest of them.

    A centre would be the wrong place for a selection that is long, bent or in parts. Of many
    members, some drawn evenly stand for all; which one is nearest is judged in the mean
    uncertainty, how far it is in each latent's own.

    **Returns:** -1 for the selection itself, 0 or more for others (see `latent_distance`).
    """
    distance = np.full(len(latent), -1.0)
    others = np.flatnonzero(~chosen)
    if not others.size:
        return distance
    members = np.flatnonzero(chosen)
    drawn = np.unique(np.linspace(0, len(members) - 1, _MEMBERS).round().astype(np.int64))
    place = np.asarray(latent, np.float64)
    if covariance is not None:
        mean = covariance.mean(axis=0, dtype=np.float64)
        # Rows times the factor's inverse have a mean uncertainty of 1 along every direction.
        place = np.asarray(np.linalg.solve(np.linalg.cholesky(mean), place.T).T, np.float64)
    member = members[drawn]
    nearest = member[KDTree(place[member]).query(place[others], workers=-1)[1]]
    scaled = None if covariance is None else covariance[others]
    distance[others] = latent_distance(latent[others], scaled, latent[nearest])
    return distance


def ring_sizes(
    images: int, rings: int = RINGS, first: int | None = None
) -> Int[np.ndarray, " rings"]:
    """List how many images the innermost 1, 2, … rings hold, a geometric series up to all.

    **Arguments:** `first`: how many the innermost one holds, by default 2 %, at least 60.
    """
    if first is None:
        first = min(max(_FEWEST, round(_SHARE * images)), images)
    sizes = np.geomspace(first, images, rings).round().astype(np.int64)
    return np.unique(sizes)


def rings_of(
    distance: Float[np.ndarray, " n"], sizes: Int[np.ndarray, " rings"]
) -> Int[np.ndarray, " n"]:
    """Say in which ring each image lies, int32."""
    rank = np.empty(len(distance), np.int64)
    rank[np.argsort(distance, kind="stable")] = np.arange(len(distance))
    return np.searchsorted(sizes, rank, side="right").astype(np.int32)

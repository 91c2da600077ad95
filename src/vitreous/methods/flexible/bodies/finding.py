"""Which parts of a molecule move as one, by how they move and where they lie."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import KDTree
from sklearn.cluster import KMeans

from vitreous.methods.flexible.bodies.transforms import Body, Moments

# Å by which Gaussians lie apart that counts as much as 1 Å by which they move apart.
_PLACE = 20.0
# Fewest Gaussians of a body, and clusters a body is put together from.
_FEWEST, _PIECES = 4, 6


class Bodies(NamedTuple):
    """Hold each Gaussian's share in each body, and the body it belongs to."""

    share: Float[np.ndarray, "g k"]
    label: Int[np.ndarray, " g"]


def find_bodies(
    points: Float[np.ndarray, "g 3"],
    displacements: Float[np.ndarray, "b g 3"],
    count: int,
    refinements: int = 2,
    seed: int = 0,
) -> Bodies:
    """Cut a molecule into bodies that move as rigidly as can be.

    k-means on where each Gaussian goes in some particles, and on where it lies, gives many small
    clusters; two of them become one, again and again, where that spoils their rigid motion least.
    The bodies left are refined by turns: a Gaussian is a body's by how well the body's motions
    carry it and by how near it lies, and motions are fitted with these shares.

    **Arguments:** `displacements` (Å) in some particles. `count`: how many bodies.
    """
    flat = np.swapaxes(displacements, 0, 1).reshape(len(points), -1).astype(np.float64)
    motion = flat / np.sqrt(len(displacements))
    features = np.concatenate([motion, points / _PLACE], axis=1)
    pieces = max(count, min(_PIECES * count, len(points) // _FEWEST))
    label = KMeans(pieces, n_init=2, random_state=seed).fit(features).labels_
    share = np.eye(count)[_merged(points, displacements, label, count)]
    for _ in range(refinements):
        share = _posterior(points, displacements, share)
    return Bodies(share, np.argmax(share, axis=1).astype(np.int64))


def _merged(
    points: Float[np.ndarray, "g 3"],
    displacements: Float[np.ndarray, "b g 3"],
    label: Int[np.ndarray, " g"],
    count: int,
) -> Int[np.ndarray, " g"]:
    """Join clusters until so many are left, those first that move most nearly as one."""
    parts = [np.flatnonzero(label == k) for k in np.unique(label)]

    def spoilt(rows: np.ndarray) -> float:
        body = Body.of(points[rows], np.ones(len(rows)))
        fields = displacements[:, rows]
        return float(np.sum(body.misfit(fields, body.fit(body.moments(fields))) ** 2))

    own = [spoilt(rows) for rows in parts]
    cost = np.full((len(parts), len(parts)), np.inf)

    def compare(i: int) -> None:
        for j in range(len(parts)):
            if j != i and len(parts[j]):
                both = spoilt(np.concatenate([parts[i], parts[j]]))
                cost[i, j] = cost[j, i] = both - own[i] - own[j]

    for i in range(len(parts)):
        compare(i)
    for _ in range(len(parts) - count):
        i, j = divmod(int(np.argmin(cost)), len(parts))
        parts[i], parts[j] = np.concatenate([parts[i], parts[j]]), parts[j][:0]
        own[i] = spoilt(parts[i])
        cost[j], cost[:, j] = np.inf, np.inf
        compare(i)
    found = np.empty(len(points), np.int64)
    for k, rows in enumerate(rows for rows in parts if len(rows)):
        found[rows] = k
    return found


def _posterior(
    points: Float[np.ndarray, "g 3"],
    displacements: Float[np.ndarray, "b g 3"],
    share: Float[np.ndarray, "g k"],
) -> Float[np.ndarray, "g k"]:
    """Weigh the bodies for each Gaussian by rigid fit and place."""
    square, near = np.empty(share.shape), np.empty(share.shape)
    for k, column in enumerate(share.T):
        body = Body.of(points, column + 1e-12)
        moments: Moments = body.moments(displacements)
        square[:, k] = np.mean(body.misfit(displacements, body.fit(moments)) ** 2, axis=0)
        arm = points - body.centre
        spread = np.einsum("g,gi,gj->ij", body.weight, arm, arm) + 4.0 * np.eye(3)
        distance = np.einsum("gi,ij,gj->g", arm, np.linalg.inv(spread), arm)
        near[:, k] = -0.5 * distance - 0.5 * np.linalg.slogdet(spread)[1]
    # Noise of a Gaussian's motion: what is left in the body that suits it best.
    noise = max(float(np.median(square.min(axis=1))), 0.05)
    log = near - 1.5 * square / noise + np.log(np.maximum(share.sum(axis=0), _FEWEST))[None]
    log -= log.max(axis=1, keepdims=True)
    weight = np.exp(log)
    return weight / weight.sum(axis=1, keepdims=True)


def masks_of_bodies(
    points: Float[np.ndarray, "g 3"],
    label: Int[np.ndarray, " g"],
    count: int,
    box: int,
    voxel_size: float,
    reach: float,
) -> Bool[np.ndarray, "k n n n"]:
    """Give each body the voxels nearest to its Gaussians, no farther than `reach` Å from one."""
    axis = (np.arange(box) - box // 2) * voxel_size
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    places = np.stack([x, y, z], axis=-1).reshape(-1, 3)
    distance, nearest = KDTree(points).query(places, distance_upper_bound=reach)
    owner = np.append(label, -1)[np.where(np.isfinite(distance), nearest, len(label))]
    return np.stack([(owner == k).reshape((box,) * 3) for k in range(count)])

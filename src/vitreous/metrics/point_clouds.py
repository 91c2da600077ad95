"""Distances between maps that need no common frame: of clouds of their densest voxels.

A map becomes as many points of equal weight as asked, so that optimal transport between two clouds
is a matching of their points.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from vitreous.geometry.resample import resample

Cloud = Float[np.ndarray, "k 3"]
# Maps are cut to this box first, so that the points spread over the molecule.
_COARSE = 24


def point_cloud(
    volume: Float[np.ndarray, "n n n"], voxel_size: float = 1.0, count: int = 128
) -> Cloud:
    """Give the places of the densest voxels `(x, y, z)`, Å from their mean.

    **Arguments:** `count`: of points, of a map that is cut to a box of 24 by its Fourier transform.
    """
    box = len(volume)
    if box > _COARSE:
        volume = np.asarray(resample(jnp.asarray(volume, jnp.float32), _COARSE, 3))
        voxel_size, box = voxel_size * box / _COARSE, _COARSE
    densest = np.argpartition(-volume.ravel(), count - 1)[:count]
    places = np.stack(np.unravel_index(np.sort(densest), volume.shape)[::-1], axis=1)
    return (places - places.mean(axis=0)) * voxel_size


def procrustes_wasserstein(first: Cloud, second: Cloud, rounds: int = 30) -> float:
    """Return the least root-mean-square distance (Å) of matched points, over rotations too.

    Matching and rotation take turns from several starts: the identity, and the principal axes laid
    on each other in the four ways that keep the hand. Mirror images stay apart.

    **Source:** Grave, Joulin & Berthet (2019) AISTATS, Wasserstein Procrustes.
    """
    one, two = (np.linalg.svd(cloud.T @ cloud)[0] for cloud in (first, second))
    hand = np.sign(np.linalg.det(one @ two.T))
    signs = [(a, b, a * b * hand) for a in (1, -1) for b in (1, -1)]
    starts = [np.eye(3), *(one @ np.diag(s) @ two.T for s in signs)]
    return min(_settled(first, second, start, rounds) for start in starts)


def _settled(first: Cloud, second: Cloud, rotation: np.ndarray, rounds: int) -> float:
    least = np.inf
    for _ in range(rounds):
        square = cdist(first, second @ rotation.T, "sqeuclidean")
        _, match = linear_sum_assignment(square)
        mean = float(square[np.arange(len(first)), match].mean())
        if mean > least * (1 - 1e-6):
            break
        least = mean
        u, _, v = np.linalg.svd(first.T @ second[match])
        rotation = u @ np.diag([1, 1, np.sign(np.linalg.det(u @ v))]) @ v
    return float(np.sqrt(least))


def gromov_wasserstein(first: Cloud, second: Cloud, rounds: int = 50) -> float:
    """Return how far (Å) the distances within two clouds are from each other, matched at best.

    `min √Σ |d(i, k) − d'(j, l)|² P(i, j) P(k, l)`, by conditional gradients with an exact step,
    from the even plan and from points matched by their distances to all others. No turn nor mirror
    changes it.

    **Source:** Mémoli (2011) Found. Comput. Math. 11, 417; Vayer et al. (2019) ICML, alg. 1 and 2.
    """
    one, two = cdist(first, first), cdist(second, second)
    n = len(one)
    profile = cdist(np.sort(one, axis=1), np.sort(two, axis=1), "sqeuclidean")
    starts = [np.full((n, n), 1 / n**2), _matched(profile)]
    return min(_conditional_gradient(one, two, plan, rounds) for plan in starts)


def _conditional_gradient(one: np.ndarray, two: np.ndarray, plan: np.ndarray, rounds: int) -> float:
    fixed = np.mean(one**2, axis=1)[:, None] + np.mean(two**2, axis=1)[None]

    def cost(p: np.ndarray, q: np.ndarray) -> float:
        return float(np.sum((fixed - 2 * one @ p @ two) * q))

    now = cost(plan, plan)
    for _ in range(rounds):
        step = _matched(fixed - 2 * one @ plan @ two) - plan
        # Along the step the cost is a parabola.
        bend = -2 * float(np.sum((one @ step @ two) * step))
        slope = float(np.sum((fixed - 4 * one @ plan @ two) * step))
        size = min(max(-slope / (2 * bend), 0.0), 1.0) if bend > 0 else float(slope + bend < 0)
        new = cost(plan + size * step, plan + size * step)
        if size == 0 or new > now - 1e-9 * abs(now):
            break
        plan, now = plan + size * step, new
    return float(np.sqrt(max(now, 0.0)))


def _matched(cost: np.ndarray) -> np.ndarray:
    rows, columns = linear_sum_assignment(cost)
    plan = np.zeros_like(cost)
    plan[rows, columns] = 1 / len(cost)
    return plan

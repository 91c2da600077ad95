"""Places of a latent space where a map is made, and the short steps that join them."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra, minimum_spanning_tree
from scipy.spatial.distance import cdist, pdist, squareform
from sklearn.cluster import KMeans

from vitreous.geometry.resample import resample
from vitreous.methods.flexible.starts.tracking import Cloud, Step
from vitreous.reconstruction.kernel_regression import KernelRegression
from vitreous.reconstruction.rings import latent_distance

# A step beside the tree closes a loop if it is no longer than so many of the tree's longest, and
# the way along the tree is longer than so many.
_STEP, _LOOP = 1.25, 3.0


class Anchors(NamedTuple):
    """Hold places of a latent space and a map at each.

    **Fields:** `latents`. `maps`, low-passed by a smaller box; `voxel_size` (Å).
    """

    latents: Float[np.ndarray, "k d"]
    maps: Float[np.ndarray, "k b b b"]
    voxel_size: float


def choose_anchors(
    latents: Float[np.ndarray, "n d"], count: int = 24, seed: int = 0
) -> Int[np.ndarray, " k"]:
    """Choose particles that cover the latents: those nearest to the centres of k-means."""
    count = min(count, len(np.unique(latents, axis=0)))
    centres = KMeans(count, n_init=2, random_state=seed).fit(latents).cluster_centers_
    nearest = [int(np.argmin(np.sum((latents - c) ** 2, axis=1))) for c in centres]
    return np.unique(nearest)


def anchor_maps(
    regression: KernelRegression,
    latents: Float[np.ndarray, "n d"],
    chosen: Int[np.ndarray, " k"],
    box: int = 32,
    covariance: Float[np.ndarray, "n d d"] | None = None,
) -> Anchors:
    """Make a map at each of some particles' latents.

    **Arguments:** `box`: side that maps are cut to in Fourier space, which is their low-pass.
    """
    whole = regression.geometry.box
    box = min(box, whole)
    maps = []
    for i in chosen:
        made = regression(latent_distance(latents, covariance, latents[i]))
        maps.append(np.asarray(resample(jnp.asarray(made.volume), box, 3)))
    voxel = float(regression.geometry.voxel_size) * whole / box
    stack = np.stack(maps).astype(np.float32)
    return Anchors(np.asarray(latents[chosen], np.float64), stack, voxel)


def most_open(clouds: Sequence[Cloud], reach: float = 12.0) -> int:
    """Choose the conformation in which least of the molecule touches the rest of it.

    There, neighbours in space are neighbours in the chain; elsewhere a cloud would tie parts
    together that only happen to lie side by side.

    **Arguments:** `reach`: how near counts as touching, Å.
    """
    touching = []
    for points, mass in clouds:
        square = cdist(points, points, "sqeuclidean")
        touching.append(float(mass @ np.exp(-0.5 * square / reach**2) @ mass))
    return int(np.argmin(touching))


def spanning_steps(
    maps: Float[np.ndarray, "k b b b"], reference: int
) -> tuple[list[Step], list[Step]]:
    """Join maps by the steps between them that are shortest in all, away from the reference.

    A landscape that closes on itself is entered from both sides: the tree is cut where both ways
    meet, and the step across the cut tells whether they agree.

    **Returns:** the steps of the tree, in an order in which they can be taken; and the step that
    closes a loop, if one does.
    """
    flat = maps.reshape(len(maps), -1).astype(np.float64)
    distance = squareform(pdist(flat)) + 1e-12
    tree = minimum_spanning_tree(csr_matrix(distance)).toarray()
    graph = np.maximum(tree, tree.T)
    longest = float(graph.max())
    along = dijkstra(csr_matrix(graph), directed=False)
    closing = (distance <= _STEP * longest) & (along > _LOOP * longest)
    if closing.any():
        shortest = np.argmin(np.where(closing, distance, np.inf))
        a, b = np.unravel_index(shortest, distance.shape)
        graph[a, b] = graph[b, a] = distance[a, b]
    # Its stubs know no plain integer for `indices`.
    far, before = dijkstra(csr_matrix(graph), False, reference, True)  # type: ignore[call-overload]
    steps = [Step(int(before[i]), int(i)) for i in np.argsort(far, kind="stable")[1:]]
    taken = {frozenset(step) for step in steps}
    edges = zip(*(part.tolist() for part in np.nonzero(np.triu(graph))), strict=True)
    return steps, [Step(a, b) for a, b in edges if frozenset((a, b)) not in taken]

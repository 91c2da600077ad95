"""What a molecule allows: neighbours keep their distance, unless they belong to different parts.

A spring that is stretched in many images counts for less (Geman & McClure), so that the few across
a hinge give way, in all images, while the others hold.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.spatial import cKDTree

# Root mean square stretch at which a spring has half of the energy it can reach, as a share of the
# mean edge.
SOFTNESS = 0.15


def neighbour_edges(
    positions: Float[np.ndarray, "g 3"], neighbours: int = 8
) -> Int[np.ndarray, "e 2"]:
    """Join every Gaussian with its nearest neighbours; `e = g · neighbours`, pairs may stand twice.

    Pairs much longer than usual, across gaps, are replaced by the Gaussian's nearest neighbour.
    """
    count = min(neighbours, len(positions) - 1)
    found = cKDTree(positions).query(positions, k=count + 1)
    distance, index = (np.asarray(part) for part in found)
    limit = 2.0 * np.median(distance[:, -1])
    near = np.where(distance[:, 1:] <= limit, index[:, 1:], index[:, 1:2])
    first = np.repeat(np.arange(len(positions)), count)
    return np.stack([first, near.reshape(-1)], axis=1).astype(np.int32)


def edge_lengths(
    points: Float[Array, "... g 3"], edges: Int[Array, "e 2"]
) -> Float[Array, "... e"]:
    """Measure edges, Å; the root is smooth where points coincide."""
    along = points[..., edges[:, 0], :] - points[..., edges[:, 1], :]
    return jnp.sqrt(jnp.sum(along * along, axis=-1) + 1e-6)


def elastic_energy(
    moved: Float[Array, "b g 3"],
    rest: Float[Array, " e"],
    edges: Int[Array, "e 2"],
    share: Float[Array, " b"],
    softness: float = SOFTNESS,
) -> Float[Array, ""]:
    """Return the mean energy of the springs, Å².

    `c² s² / (c² + s²)` of each spring's mean square stretch `s²` over the images, with `c` the
    softness times the mean edge; plus the square of what any edge is shorter than half the mean.

    **Arguments:** `rest`: lengths in the consensus. `share` of each image in the means.

    **Source:** Geman & McClure (1987); as the pruned elastic networks of deformation-based methods,
    but that nothing decides beforehand which springs give way.
    """
    length = edge_lengths(moved, edges)
    mean = jnp.mean(rest)
    stretch = share @ (length - rest[None]) ** 2
    limit = (softness * mean) ** 2
    close = share @ jnp.maximum(0.5 * mean - length, 0.0) ** 2
    return jnp.mean(stretch * limit / (limit + stretch) + close)

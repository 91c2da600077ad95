"""What a molecule allows: neighbours keep their distance, unless they belong to different parts.

A spring that is stretched in many images counts for less (Geman & McClure), so that the few across
a hinge give way, in all images, while the others hold. Whatever comes too near is pushed apart.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.spatial import cKDTree

# Root mean square stretch at which a spring has half of the energy it can reach, as a share of the
# mean edge.
SOFTNESS = 0.15
# Gaussians nearer than this share of the mean edge are pushed apart.
NEAREST = 0.5
# Pairs, counted image by image, that are worked on at a time.
_AT_A_TIME = 1 << 20


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
    near: Int[Array, "m 2"] | None = None,
    softness: float = SOFTNESS,
) -> Float[Array, ""]:
    """Return the mean energy of the springs, Å².

    `c² s² / (c² + s²)` of each spring's mean square stretch `s²` over the images, with `c` the
    softness times the mean edge; plus the square of what any edge, or pair that is none, is shorter
    than half the mean. Images are worked on a few at a time, and once more for the gradient.

    **Arguments:** `rest`: lengths in the consensus. `share` of each image in the means. `near`:
    pairs that are no edges but may meet; one of a Gaussian with itself is none.

    **Source:** Geman & McClure (1987); as the pruned elastic networks of deformation-based methods,
    but that nothing decides beforehand which springs give way.
    """
    mean = jnp.mean(rest)
    count = len(edges) + (0 if near is None else len(near))

    def sums(points: Float[Array, "c g 3"], part: Float[Array, " c"]):
        length = edge_lengths(points, edges)
        close = part @ jnp.maximum(NEAREST * mean - length, 0.0) ** 2
        total = jnp.sum(close)
        if near is not None:
            length_near = edge_lengths(points, near)
            depth = jnp.maximum(NEAREST * mean - length_near, 0.0)
            depth = jnp.where((near[:, 0] != near[:, 1])[None], depth, 0.0)
            total = total + jnp.sum(part @ depth**2)
        return part @ (length - rest[None]) ** 2, total

    stretch, close = _over_images(sums, moved, share, count)
    limit = (softness * mean) ** 2
    return jnp.mean(stretch * limit / (limit + stretch)) + close / len(edges)


def _over_images(sums, moved: Float[Array, "b g 3"], share: Float[Array, " b"], pairs: int):
    """Add up what a function says of a few images at a time."""
    images = len(moved)
    most = max(1, _AT_A_TIME // max(pairs, 1))
    size = max(i for i in range(1, images + 1) if images % i == 0 and i <= most)
    if size == images:
        return sums(moved, share)
    parts = moved.reshape(-1, size, *moved.shape[1:]), share.reshape(-1, size)
    zero = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(sums, *_first(parts)))

    def add(total, part):
        return jax.tree.map(jnp.add, total, jax.checkpoint(sums)(*part)), None

    return jax.lax.scan(add, zero, parts)[0]


def _first(parts):
    return jax.tree.map(lambda x: x[0], parts)

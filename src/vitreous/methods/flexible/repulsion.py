"""Gaussians that may meet though no spring joins them, looked up once an epoch on the host."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.spatial import cKDTree

from vitreous.methods.flexible.state import Moving, half_of
from vitreous.particles.processes import as_first

# Pairs of each Gaussian that are kept, and neighbours looked at to find them.
KEPT, _LOOKED_AT = 2, 24
# Conformations that are looked at, and pairs nearer than so many mean edges in any.
CONFORMATIONS, _REACH = 8, 1.0


def near_pairs(
    conformations: Float[np.ndarray, "c g 3"], edges: Int[np.ndarray, "e 2"], reach: float
) -> Int[np.ndarray, "g k"]:
    """List the nearest Gaussians of each that are no neighbours by an edge, in any conformation.

    **Arguments:** `reach`: Å; what never comes nearer is left out.

    **Returns:** the nearest first; a Gaussian's own number where there are fewer.
    """
    g = conformations.shape[1]
    joined = _codes(edges[:, 0], edges[:, 1], g)
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for points in conformations:
        looked = cKDTree(points).query(points, k=min(_LOOKED_AT, g), distance_upper_bound=reach)
        distance, other = (np.asarray(part).reshape(g, -1) for part in looked)
        one = np.broadcast_to(np.arange(g)[:, None], other.shape)
        good = np.isfinite(distance) & (other != one)
        one, other, distance = one[good], other[good], distance[good]
        free = ~np.isin(_codes(one, other, g), joined)
        found.append((one[free] * g + other[free], distance[free]))
    pair = np.concatenate([p for p, _ in found])
    distance = np.concatenate([d for _, d in found])
    by_distance = np.argsort(distance, kind="stable")
    pair, nearest = np.unique(pair[by_distance], return_index=True)
    distance = distance[by_distance][nearest]
    order = np.lexsort((distance, pair // g))
    first, second = pair[order] // g, pair[order] % g
    rank = np.arange(len(first)) - np.searchsorted(first, first)
    table = no_pairs(g)
    kept = rank < KEPT
    table[first[kept], rank[kept]] = second[kept]
    return table


def no_pairs(gaussians: int) -> Int[np.ndarray, "g k"]:
    """List no pairs."""
    return np.repeat(np.arange(gaussians, dtype=np.int32)[:, None], KEPT, axis=1)


def listed(table: Int[Array, "g k"]) -> Int[Array, "m 2"]:
    """Write a table of pairs as a list of them."""
    own = jnp.broadcast_to(jnp.arange(len(table), dtype=table.dtype)[:, None], table.shape)
    return jnp.stack([own, table], axis=-1).reshape(-1, 2)


@eqx.filter_jit
def conformations(model: Moving, z: Float[Array, "c d"]) -> Float[Array, "c g 3"]:
    """Return where Gaussians are at some latents, Å."""
    positions = model.gaussians.positions
    return positions[None] + model.deformation(positions, z)


def pairs_of_halves(
    model: Moving,
    latents: Float[np.ndarray, "n d"],
    half: Int[np.ndarray, " n"],
    edges: Int[np.ndarray, "e 2"],
    seed: list[int],
) -> Int[Array, "2 g k"]:
    """List pairs that may meet in some images of either half, others in every epoch.

    **Arguments:** `model`: of both halves. `half`: 0 or 1, of each image. `seed`: of the choice.
    """
    tables = []
    for side in range(2):
        own, generator = half_of(model, side), np.random.default_rng([*seed, side])
        rows = generator.choice(np.flatnonzero(half == side), CONFORMATIONS)
        points = np.asarray(conformations(own, jnp.asarray(latents[rows])), np.float64)
        rest = np.asarray(own.gaussians.positions, np.float64)
        mean = float(np.linalg.norm(rest[edges[:, 0]] - rest[edges[:, 1]], axis=1).mean())
        tables.append(near_pairs(points, edges, _REACH * mean))
    return jnp.asarray(as_first(np.stack(tables)))


def _codes(one: Int[np.ndarray, " m"], other: Int[np.ndarray, " m"], g: int) -> np.ndarray:
    """Number pairs, whichever way round they stand."""
    low, high = np.minimum(one, other).astype(np.int64), np.maximum(one, other)
    return low * g + high

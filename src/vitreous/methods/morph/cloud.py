"""Densities as clouds of points, and points as densities: thresholded voxels, trilinear splats.

Positions are `(x, y, z)`; a grid is given by the position of its first voxel and its voxel size.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vitreous.methods.morph.velocity import Triple


def cloud_of(
    density: Float[np.ndarray, "z y x"], voxel: float, origin: Triple
) -> tuple[Float[np.ndarray, "m 3"], Float[np.ndarray, " m"]]:
    """List the centres (Å) and values of all voxels above zero."""
    index = np.argwhere(density > 0)
    points = index[:, ::-1] * voxel + np.asarray(origin)
    return points.astype(np.float32), density[tuple(index.T)].astype(np.float32)


def corners(
    points: Float[Array, "m 3"], shape: tuple[int, int, int], voxel: float, origin: Triple
) -> tuple[Float[Array, "m 8"], Array]:
    """Find the eight voxels around each point: their trilinear weights and flat indices.

    Points beyond the outermost voxels count as lying on the border, so no mass is lost.
    """
    sides = jnp.asarray(np.array(shape[::-1]) - 1, points.dtype)
    place = (points - jnp.asarray(origin, points.dtype)[None]) / voxel
    place = jnp.clip(place, 0, sides[None])
    low = jnp.clip(jnp.floor(place), 0, jnp.maximum(sides - 1, 0)[None])
    fraction = place - low
    base = low.astype(jnp.int32)
    steps = (1, shape[2], shape[1] * shape[2])
    start = base[:, 0] + base[:, 1] * steps[1] + base[:, 2] * steps[2]
    weights, indices = [], []
    for corner in range(8):
        weight, index = jnp.ones_like(place[:, 0]), start
        for axis in range(3):
            f = fraction[:, axis]
            if corner >> axis & 1:
                # A grid one voxel thick has no second voxel to share with.
                weight, index = (
                    weight * f,
                    index + min(steps[axis], steps[axis] * (shape[2 - axis] - 1)),
                )
            else:
                weight = weight * (1 - f)
        weights.append(weight)
        indices.append(index)
    return jnp.stack(weights, axis=-1), jnp.stack(indices, axis=-1)


def splat(
    points: Float[Array, "m 3"],
    mass: Float[Array, " m"],
    shape: tuple[int, int, int],
    voxel: float,
    origin: Triple,
) -> Float[Array, "z y x"]:
    """Spread masses over the eight voxels around each point: the push-forward of a density."""
    weight, index = corners(points, shape, voxel, origin)
    flat = jnp.zeros(int(np.prod(shape)), points.dtype)
    flat = flat.at[index.reshape(-1)].add((weight * mass[:, None]).reshape(-1))
    return flat.reshape(shape)


def read_at(
    values: Float[Array, "z y x"], points: Float[Array, "m 3"], voxel: float, origin: Triple
) -> Float[Array, " m"]:
    """Interpolate a grid at points, trilinearly: the adjoint of `splat`."""
    z, y, x = values.shape
    weight, index = corners(points, (z, y, x), voxel, origin)
    return jnp.sum(weight * values.reshape(-1)[index], axis=-1)

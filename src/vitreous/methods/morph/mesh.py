"""How much a flow strains the molecule: deformation gradients of a tetrahedral mesh it carries.

The mesh fills the molecule with cubes, each cut into the six tetrahedra that share the diagonal
(Kuhn); neighbours share their vertices, so a vertex is carried once. Strain is a pure number and
its mean over the volume does not depend on how fine the mesh is.
"""

import itertools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vitreous.methods.morph.velocity import Triple

# A volume that shrinks below this share of itself is on its way to turning inside out.
LEAST_VOLUME = 0.3


class Mesh(NamedTuple):
    """Hold vertices (Å) and, for each cube, the indices of its eight corners (bits z y x)."""

    vertices: Float[np.ndarray, "v 3"]
    cells: Int[np.ndarray, "c 8"]
    side: float


def build_mesh(density: Float[np.ndarray, "z y x"], voxel: float, origin: Triple) -> Mesh:
    """Fill the voxels above zero: a cube's low corner lies at the centre of its voxel."""
    low = np.argwhere(density > 0)
    bits = np.array(list(itertools.product((0, 1), repeat=3)))
    every = (low[:, None] + bits[None]).reshape(-1, 3)
    shape = np.array(density.shape) + 1
    keys, inverse = np.unique(np.ravel_multi_index(every.T, shape), return_inverse=True)
    index = np.stack(np.unravel_index(keys, shape), axis=-1)
    vertices = index[:, ::-1] * voxel + np.asarray(origin)
    return Mesh(vertices.astype(np.float32), inverse.reshape(-1, 8).astype(np.int32), voxel)


def tetrahedron_gradients(
    carried: Float[Array, "v 3"], cells: Int[Array, "c 8"], side: float
) -> Float[Array, "c 6 3 3"]:
    """Give `F = ∂Φ/∂x` on the six tetrahedra of each cube, exactly for the linear interpolant.

    A Kuhn tetrahedron walks from the low corner to the high one along one axis after the other:
    each edge of that walk is a column of `F`, no matrix is inverted.
    """
    corner = carried[cells]
    matrices = []
    for order in itertools.permutations(range(3)):
        at, columns = 0, [corner[:, 0]] * 3
        for axis in order:
            # Bits run z y x, vectors x y z.
            step = at | (1 << axis)
            columns[axis] = (corner[:, step] - corner[:, at]) / side
            at = step
        matrices.append(jnp.stack(columns, axis=-1))
    return jnp.stack(matrices, axis=1)


def determinant(f: Float[Array, "... 3 3"]) -> Float[Array, "..."]:
    """Expand the determinant of 3 × 3 matrices; smooth, and no batched factorisation."""
    return (
        f[..., 0, 0] * (f[..., 1, 1] * f[..., 2, 2] - f[..., 1, 2] * f[..., 2, 1])
        - f[..., 0, 1] * (f[..., 1, 0] * f[..., 2, 2] - f[..., 1, 2] * f[..., 2, 0])
        + f[..., 0, 2] * (f[..., 1, 0] * f[..., 2, 1] - f[..., 1, 1] * f[..., 2, 0])
    )


def strain_energy(f: Float[Array, "... 3 3"]) -> Float[Array, "..."]:
    """Measure `‖FᵀF − I‖²`: zero for rotations, and blind to reflections."""
    square = jnp.sum(f[..., :, :, None] * f[..., :, None, :], axis=-3)
    identity = jnp.eye(3, dtype=f.dtype).reshape(*(1,) * (f.ndim - 2), 3, 3)
    return jnp.sum((square - identity) ** 2, axis=(-2, -1))


def inversion_barrier(f: Float[Array, "... 3 3"]) -> Float[Array, "..."]:
    """Rise from 0 where `det F` falls below 0.3, to 1 at collapse and on beyond it.

    Finite everywhere, so that a mesh already inverted finds its way back.
    """
    return jnp.square(jnp.maximum(1 - determinant(f) / LEAST_VOLUME, 0))

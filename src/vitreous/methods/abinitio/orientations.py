"""Which rotations a search tries: an even grid, turned at random, of one asymmetric unit.

`R` and `R S` show a molecule that the rotation `S` leaves unchanged alike, so that one of them is
enough: a molecule of `g` copies needs the `g`-th part of the grid.
"""

from functools import lru_cache

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from vitreous.geometry.point_groups import point_group
from vitreous.geometry.rotations import (
    geodesic_distance,
    matrix_to_quaternion,
    random_rotations,
    rotation_vector_to_matrix,
)
from vitreous.geometry.so3_grid import angular_step, so3_grid

# A rotation is looked at if it scores higher than this many around it.
_NEIGHBOURS = 10
# How a grid is turned against another one, in degrees.
_ASKEW = (31.0, -47.0, 12.0)


@lru_cache(maxsize=4)
def unit_grid(order: int, symmetry: str = "C1") -> Float[np.ndarray, "q 3 3"]:
    """Lay a grid of rotations over the asymmetric unit of a point group."""
    grid = so3_grid(order)
    return grid[in_unit(grid, point_group(symmetry))]


@lru_cache(maxsize=4)
def trial_grid(order: int, symmetry: str = "C1") -> tuple[np.ndarray, np.ndarray]:
    """Lay a grid of rotations twice, one turned against the other, and find who is near whom.

    **Arguments:** `symmetry`: point group; copies of a rotation count as near, too.

    **Returns:** rotations `(q, 3, 3)`, and the places of those around each, `(q, m)` int32.
    """
    from scipy.spatial import cKDTree

    grid, group = so3_grid(order), point_group(symmetry)
    turn = np.asarray(rotation_vector_to_matrix(np.array(_ASKEW)))
    both = np.concatenate([grid, grid @ turn]).astype(np.float32)
    both = both[in_unit(both, group)]
    copies = [matrix_to_quaternion((both @ copy).astype(np.float32)) for copy in group]
    quaternion = np.concatenate(copies)
    tree = cKDTree(np.concatenate([quaternion, -quaternion]))
    near = np.asarray(tree.query(quaternion[: len(both)], k=_NEIGHBOURS + 1)[1])
    return both, (near[:, 1:] % len(both)).astype(np.int32)


def in_unit(
    rotation: Float[np.ndarray, "q 3 3"], group: Float[np.ndarray, "g 3 3"]
) -> Bool[np.ndarray, " q"]:
    """Tell which rotations are nearer to the identity than all their copies are."""
    # tr(R S) over all S: the larger, the smaller the angle.
    trace = np.einsum("qij,gji->qg", rotation.astype(np.float64), group)
    return trace[:, 0] >= trace.max(axis=1) - 1e-6


def turned(
    rotation: Float[np.ndarray, "q 3 3"], key: Key[Array, ""], copies: Float[np.ndarray, "g 3 3"]
) -> Float[Array, "q 3 3"]:
    """Turn a grid at random, an asymmetric unit remaining one."""
    turn = random_rotations(key, 1)[0]
    # Copies are `R S`: what stands on the left of `R` changes nothing about them.
    order = "qij,jk->qik" if len(copies) == 1 else "qij,ki->qkj"
    return jnp.einsum(order, jnp.asarray(rotation), turn, precision="highest")


def moved_angle(
    rotation: Float[np.ndarray, "n 3 3"],
    before: Float[np.ndarray, "n 3 3"],
    copies: Float[np.ndarray, "g 3 3"],
) -> Float[np.ndarray, " n"]:
    """Return how far rotations are from the nearest copy of earlier ones, in degrees."""
    angles = [geodesic_distance(rotation, before @ copy.astype(before.dtype)) for copy in copies]
    return np.min(np.stack(angles), axis=0)


def spread_over_copies(
    rotation: Float[np.ndarray, "n 3 3"], copies: Float[np.ndarray, "g 3 3"], seed: int
) -> Float[np.ndarray, "n 3 3"]:
    """Let every image show any of the copies of its pose.

    Maps that are made without symmetry then get views from everywhere.
    """
    if len(copies) == 1:
        return rotation
    which = np.random.default_rng((seed, 10)).integers(len(copies), size=len(rotation))
    return (rotation @ copies[which]).astype(rotation.dtype)


def shift_grid(reach: float, step: float) -> Float[np.ndarray, "s 2"]:
    """Lay a grid of shifts over a disc, the centre among them; in units of the arguments."""
    count = int(np.ceil(reach / step - 1e-6))
    axis = np.arange(-count, count + 1) * (reach / max(count, 1))
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    inside = np.linalg.norm(grid, axis=-1) <= 1.2 * reach + 1e-6
    return grid[inside].astype(np.float32)


def shift_step(box: int, shell: int) -> float:
    """Return how far apart shifts may lie for a band, in pixels: a quarter of its finest wave."""
    return box / (4 * shell)


def order_for_shell(shell: int, box: int, radius: float) -> int:
    """Choose the grid of rotations for a band: a step moves the rim by half its finest wave.

    **Arguments:** `radius`: of the particle, in pixels.
    """
    for order in range(1, 4):
        if np.deg2rad(angular_step(order)) * radius <= 0.75 * box / shell:
            return order
    return 4

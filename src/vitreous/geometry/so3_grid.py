"""Even grids of rotations: HEALPix directions × in-plane angles, each cell splitting into eight.

A grid of order `o` has `12 · 4^o` directions (nested order) × `6 · 2^o` in-plane angles, the step
RELION names for the same order: 60°, 30°, 15°, 7.5°, … Rotation `i` has direction
`i // in_plane_count(o)`; its direction is the beam seen from the volume, `R[2]`.
"""

from functools import lru_cache
from types import ModuleType

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from vitreous.geometry.rotations import AnyArray, euler_to_matrix


def direction_count(order: int) -> int:
    """Count the directions of a grid, `12 · 4^order`."""
    return 12 * 4**order


def in_plane_count(order: int) -> int:
    """Count the in-plane angles of a grid, `6 · 2^order`."""
    return 6 * 2**order


def grid_size(order: int) -> int:
    """Count the rotations of a grid, `72 · 8^order`."""
    return direction_count(order) * in_plane_count(order)


def angular_step(order: int) -> float:
    """Return the in-plane step in degrees, `60 / 2^order`; directions are about as far apart."""
    return 60 / 2**order


def order_for_step(step: float) -> int:
    """Return the coarsest order whose step is at most `step` degrees."""
    if not step > 0:
        raise ValueError(f"an angular step must be positive, not {step}")
    return max(0, int(np.ceil(np.log2(60 / step) - 1e-9)))


@lru_cache(maxsize=8)
def direction_angles(order: int) -> Float[np.ndarray, "m 3"]:
    """Return `(rot, tilt, ψ₀)` in degrees of every direction, float64; treat it as read-only.

    ψ₀ is where the direction's in-plane angles begin. Near the poles it runs against (north) or
    with (south) `rot`, the Hopf way, so that neighbours and children turn little within the plane.
    """
    from astropy_healpix import healpix_to_xyz

    pixel = np.arange(direction_count(order))
    x, y, z = healpix_to_xyz(pixel, nside=2**order, order="nested")
    rot = np.rad2deg(np.arctan2(y, x)) % 360
    tilt = np.rad2deg(np.arctan2(np.hypot(x, y), z))
    face = pixel // 4**order
    twist = np.array([-1, 0, 1])[face // 4]
    angles = np.stack([rot, tilt, twist * rot], axis=-1)
    angles.flags.writeable = False
    return angles


def grid_rotations(index: Int[AnyArray, "..."], order: int) -> Float[AnyArray, "... 3 3"]:
    """Return the rotations that stand at some places of a grid.

    **Arguments:** `index`: 0 … `grid_size(order) − 1`, NumPy or JAX (also traced) integers.

    **Returns:** `R`, volume to image, shape `(..., 3, 3)`: float64 for NumPy, float32 for JAX.
    """
    on_host = isinstance(index, np.ndarray)
    xp: ModuleType = np if on_host else jnp
    table = xp.asarray(direction_angles(order), np.float64 if on_host else np.float32)
    count = in_plane_count(order)
    rot, tilt, start = (table[index // count, i] for i in range(3))
    psi = start + ((index % count).astype(table.dtype) + 0.5) * angular_step(order)
    return euler_to_matrix(xp.stack([rot, tilt, psi], axis=-1))


def so3_grid(order: int) -> Float[np.ndarray, "n 3 3"]:
    """Return a whole grid, `72 · 8^order` rotations, direction by direction, float32.

    **Source:** Górski et al. (2005) ApJ 622, 759 (HEALPix); Yershova et al. (2010) IJRR 29, 801
    (Hopf fibration).
    """
    return grid_rotations(np.arange(grid_size(order)), order).astype(np.float32)


def children(index: Int[AnyArray, "..."], order: int) -> Int[AnyArray, "... 8"]:
    """Return the eight rotations of order `order + 1` that share a cell of order `order`."""
    count = in_plane_count(order)
    direction, in_plane = (index // count)[..., None], (index % count)[..., None]
    shape = (1,) * index.ndim + (8,)
    quarter = np.repeat(np.arange(4, dtype=np.int32), 2).reshape(shape)
    half = np.tile(np.arange(2, dtype=np.int32), 4).reshape(shape)
    return (direction * 4 + quarter) * (2 * count) + in_plane * 2 + half


def parents(index: Int[AnyArray, "..."], order: int) -> Int[AnyArray, "..."]:
    """Return the cell of order `order − 1` that holds each rotation of order `order`."""
    count = in_plane_count(order)
    return (index // count // 4) * (count // 2) + (index % count) // 2

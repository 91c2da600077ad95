"""Align one map onto another: over all rotations, shifts and both hands.

An alignment says where the points of the moving map go, `x_fixed = G J x_moving + u`: `J` mirrors
z where the hands differ, then `G` turns about the box centre, then `u` shifts.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vitreous.geometry.fourier import frequencies, volume_from_half_space
from vitreous.geometry.hand import mirror_rotations
from vitreous.geometry.resample import resample
from vitreous.imaging.fourier_grid import FourierGrid, volume_to_grid
from vitreous.reconstruction.volume_search import (
    Place,
    moved_transform,
    refine_place,
    search_places,
    transform_points,
)

# Shells in which the places of the search are refined, before the best of each hand gets all.
_LOW_SHELLS = 10


@dataclass(frozen=True, eq=False)
class Alignment:
    """Say how a map is laid onto another one.

    **Fields:** `rotation`: about the box centre. `shift`: `(x, y, z)` in Å, after the rotation.
    `is_mirrored`: whether the moving map is mirrored (through its xy plane) first. `correlation`:
    of the two maps when aligned, mean left out, 1 for equal ones.
    """

    rotation: Float[np.ndarray, "3 3"]
    shift: Float[np.ndarray, " 3"]
    is_mirrored: bool
    correlation: float

    def apply(
        self, volume: Float[np.ndarray, "n n n"], voxel_size: float = 1.0
    ) -> Float[np.ndarray, "n n n"]:
        """Lay a map in the frame of the moving one onto the fixed one.

        **Arguments:** `voxel_size`: Å; of this map, which may be sampled otherwise.
        """
        place = Place(self.rotation, self.shift / voxel_size, self.is_mirrored)
        grid = volume_to_grid(jnp.asarray(volume, jnp.float32), 2.0, "cubic")
        linear, shift = (jnp.asarray(x, jnp.float32) for x in (place.linear, place.shift))
        return np.asarray(resampled(grid, linear, shift))

    def poses(
        self, rotation: Float[np.ndarray, "n 3 3"], shift: Float[np.ndarray, "n 2"]
    ) -> tuple[Float[np.ndarray, "n 3 3"], Float[np.ndarray, "n 2"]]:
        """Turn poses for the moving map into poses for the fixed one.

        **Arguments:** `rotation`: volume to image. `shift`: Å.
        """
        turned = rotation.astype(np.float64)
        if self.is_mirrored:
            turned = mirror_rotations(turned)
        turned = turned @ self.rotation.T
        return turned, shift - (turned @ self.shift)[:, :2]


def align_volumes(
    moving: Float[np.ndarray, "z y x"],
    fixed: Float[np.ndarray, "n n n"],
    voxel_size: float = 1.0,
    *,
    hands: tuple[bool, ...] = (False, True),
    max_box: int = 64,
) -> Alignment:
    """Find the rotation, shift and hand that lay one map onto another.

    Every rotation of a 15° grid, both hands and all shifts are compared over the first shells;
    the best of them are refined by Gauss–Newton steps, each shell weighing by how well it agrees.

    **Arguments:** `moving`, `fixed`: maps of one box. `voxel_size`: Å. `hands`: which to
    try, of the map itself (False) and its mirror image (True). `max_box`: larger maps are
    Fourier-cropped to this box first.

    **Raises:** `ValueError` if the boxes differ, or a map is constant.
    """
    if moving.shape != fixed.shape:
        raise ValueError(f"maps to align must have one box: {moving.shape}, {fixed.shape}")
    if not (np.ptp(moving) > 0 and np.ptp(fixed) > 0):
        raise ValueError("a map without any density cannot be aligned")
    box = min(len(fixed), max_box)
    grid = volume_to_grid(jnp.asarray(_prepared(moving, box)), 2.0, "linear")
    points = transform_points(_prepared(fixed, box))
    low = points.up_to(min(_LOW_SHELLS, points.shells - 1))
    ends = []
    for is_mirrored in hands:
        places = search_places(grid, points, is_mirrored)
        best = max((refine_place(grid, low, p, 6)[0] for p in places), key=lambda p: p.score)
        ends.append(refine_place(grid, points, best._replace(score=-np.inf), 8))
    place, correlation = max(ends, key=lambda end: end[0].score)
    shift = place.shift * (voxel_size * len(fixed) / box)
    return Alignment(place.rotation, shift, place.is_mirrored, correlation)


def _prepared(volume: np.ndarray, box: int) -> np.ndarray:
    """Scale a map so that no power overflows float32, and crop its transform."""
    volume = np.asarray(volume, np.float64)
    volume = ((volume - volume.mean()) / volume.std()).astype(np.float32)
    return np.asarray(resample(jnp.asarray(volume), box, 3)) if box < len(volume) else volume


@jax.jit
def resampled(
    grid: FourierGrid, linear: Float[Array, "3 3"], shift: Float[Array, " 3"]
) -> Float[Array, "n n n"]:
    """Sample the map of a grid where `x ↦ A x + u` takes it; `u` in voxels."""
    box = grid.box
    frequency = frequencies(box, 3, half=True).reshape(-1, 3)
    # Beyond the inscribed sphere, a turned map has no complete set of frequencies.
    inside = np.linalg.norm(frequency, axis=1) < box / 2
    moved = moved_transform(grid, jnp.asarray(frequency), linear, shift)
    half = jnp.where(inside, moved, 0).reshape(box, box, box // 2 + 1)
    return volume_from_half_space(half, box)

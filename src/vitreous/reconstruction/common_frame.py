"""Lay the maps of several conformations upon each other by what they have in common.

A map that is aligned to another one by correlation follows whatever moves: a frame half way
between body and arm scores better than that in which the body rests. Here every voxel has a robust
mean over all maps, and counts for a map the less the further that map is off it; an arm that is
elsewhere in every map is an outlier where it stands, and the rest decides.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.spatial.transform import Rotation

from vitreous.geometry.resample import resample
from vitreous.geometry.rotations import rotation_vector_to_matrix
from vitreous.imaging.fourier_grid import FourierGrid, volume_to_grid
from vitreous.reconstruction.volume_alignment import resampled

# Maps are compared in this box; voxels count within this share of it.
_BOX, _INSIDE = 24, 0.45
# Stages: off by so many standard deviations of the maps, a voxel counts a quarter; steps are no
# further than so many radians; their number. They are not stopped by a step that raises the cost,
# which has many shallow minima: the best place of all counts.
_STAGES = ((1.0, 0.1, 80), (0.5, 0.05, 60), (0.25, 0.03, 60))
_DAMPING = 0.02
# Where maps lie between two parts that move against each other, descent ends half way. So every
# part of the first map is brought to rest on its own before all voxels count; the best go on.
_PARTS, _GOES_ON = 6, 2


class Frames(NamedTuple):
    """Say where the points of each map go, `x ↦ G x + u`; `u` in voxels of the maps.

    `cost`: share of voxels that are off the robust mean, which compares frames of the same maps.
    """

    rotation: Float[np.ndarray, "k 3 3"]
    shift: Float[np.ndarray, "k 3"]
    cost: float


def common_frame(
    maps: Float[np.ndarray, "k n n n"], stages: tuple[tuple[float, float, int], ...] = _STAGES
) -> Frames:
    """Find small turns and shifts that bring what all maps share into one place.

    **Arguments:** `maps`: roughly aligned, within some 40°. `stages`: from coarse to fine, the
    deviation at which a voxel counts little, the largest step in radians, and how many steps.

    **Returns:** where each map goes; the first stays where it is.
    """
    box = maps.shape[-1]
    small, stacked = _small(list(maps))
    size = len(small[0])
    whole = np.ones((size,) * 3)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        begin = partial(_resting, stacked, size=size, stage=stages[0])
        starts = list(pool.map(begin, (whole, *_parts(small[0]))))
    tried = []
    for base, shift, cost in sorted(starts, key=lambda start: start[2])[:_GOES_ON]:
        for stage in stages:
            base, shift, cost = _descend(stacked, base, shift, size, stage, whole)
        tried.append((cost, base, shift))
    cost, base, shift = min(tried, key=lambda one: one[0])
    # x ↦ G₀ᵀ (G x + u − u₀): the first map is where it was.
    home = base[0].T
    return Frames(home @ base, (shift - shift[0]) @ home.T * (box / size), cost)


def moved_share(maps: Sequence[Float[np.ndarray, "n n n"]]) -> float:
    """Return the share of voxels that are off the robust mean once the maps have come to rest.

    It compares ways to lay the same maps upon each other.
    """
    small, stacked = _small(maps)
    size = len(small[0])
    *_, cost = _resting(stacked, np.ones((size,) * 3), size=size, stage=_STAGES[0])
    return cost


def _small(maps: Sequence[Float[np.ndarray, "n n n"]]) -> tuple[np.ndarray, FourierGrid]:
    """Crop maps to the box they are compared in; return them, and their transforms."""
    size = min(_BOX, maps[0].shape[-1])
    small = np.stack([np.asarray(resample(jnp.asarray(m, jnp.float32), size, 3)) for m in maps])
    small = small / small.std()
    grids = [volume_to_grid(jnp.asarray(m), 2.0, "linear") for m in small]
    return small, jax.tree.map(lambda *leaves: jnp.stack(leaves), *grids)


def _resting(grids: FourierGrid, near: np.ndarray, *, size: int, stage: tuple[float, float, int]):
    """Bring one part of the maps to rest; the cost is that of all parts."""
    k = len(jax.tree.leaves(grids)[0])
    base, shift = np.tile(np.eye(3), (k, 1, 1)), np.zeros((k, 3))
    base, shift, _ = _descend(grids, base, shift, size, stage, near)
    return _descend(grids, base, shift, size, stage, np.ones_like(near))


def _parts(volume: Float[np.ndarray, "n n n"]) -> list[Float[np.ndarray, "n n n"]]:
    """Cover the density of a map with soft balls."""
    from sklearn.cluster import KMeans

    density = np.clip(volume, 0, None) ** 2
    place = np.argwhere(density > 0.1 * density.max())
    weight = density[tuple(place.T)]
    if len(place) < _PARTS:
        return []
    centres = KMeans(_PARTS, n_init=1, random_state=0).fit(place, sample_weight=weight)
    middle = np.average(place, axis=0, weights=weight)
    variance = np.average(((place - middle) ** 2).sum(axis=1), weights=weight) / 3
    voxel = np.moveaxis(np.indices(volume.shape), 0, -1)
    distance = [((voxel - centre) ** 2).sum(axis=-1) for centre in centres.cluster_centers_]
    return [np.exp(-0.5 * far / variance) for far in distance]


def _descend(grids: FourierGrid, base, shift, size: int, stage: tuple[float, float, int], near):
    scale, farthest, steps = stage
    best, least = (base, shift), np.inf
    for _ in range(steps):
        given = (jnp.asarray(x, jnp.float32) for x in (base, shift, scale, near))
        matrix, slope, cost = (np.asarray(x, np.float64) for x in _compare(grids, *given, size))
        if cost.mean() < least:
            best, least = (base, shift), float(cost.mean())
        diagonal = np.einsum("kii->ki", matrix)
        matrix = matrix + _DAMPING * diagonal[:, :, None] * np.eye(6)
        step = -np.linalg.solve(matrix, slope[..., None])[..., 0]
        length = np.linalg.norm(step[:, :3], axis=1, keepdims=True)
        step = step * np.minimum(1, farthest / np.maximum(length, 1e-9))
        base = Rotation.from_rotvec(step[:, :3]).as_matrix() @ base
        shift = shift + step[:, 3:]
    return *best, least


@partial(jax.jit, static_argnames="size")
def _compare(
    grids: FourierGrid,
    base: Float[Array, "k 3 3"],
    shift: Float[Array, "k 3"],
    scale: Float[Array, ""],
    near: Float[Array, "n n n"],
    size: int,
) -> tuple[Float[Array, "k 6 6"], Float[Array, "k 6"], Float[Array, " k"]]:
    """Return matrix and slope of a Gauss–Newton step of each map towards the robust mean."""
    x = np.arange(size) - size // 2
    radius = x[:, None, None] ** 2 + x[None, :, None] ** 2 + x[None, None] ** 2
    inside = np.nonzero(radius < (_INSIDE * size) ** 2)

    def lie(given):
        grid, turn, move = given

        def at(step):
            turned = rotation_vector_to_matrix(step[:3]) @ turn
            return resampled(grid, turned, move + step[3:])[inside]

        values, along = jax.linearize(at, jnp.zeros(6))
        return values, jax.lax.map(along, jnp.eye(6))

    values, slopes = jax.lax.map(lie, (grids, base, shift))
    left = values - _robust_mean(values, scale)[None]
    weight = near[inside][None] * (1 + (left / scale) ** 2) ** -2
    heavy = slopes * weight[:, None]
    matrix = jnp.einsum("kiv,kjv->kij", heavy, slopes, precision="highest")
    slope = jnp.einsum("kiv,kv->ki", heavy, left, precision="highest")
    off = near[inside][None] * left**2 / (left**2 + scale**2)
    return matrix, slope, jnp.mean(off, axis=1)


def _robust_mean(values: Float[Array, "k v"], scale: Float[Array, ""]) -> Float[Array, " v"]:
    mean = jnp.median(values, axis=0)
    for _ in range(3):
        weight = (1 + ((values - mean[None]) / scale) ** 2) ** -2
        mean = jnp.sum(weight * values, axis=0) / jnp.sum(weight, axis=0)
    return mean

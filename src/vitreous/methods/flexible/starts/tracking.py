"""Follow a cloud of points from map to map, through motions too large for a gradient to find.

Maps are densities without names: which part went where is told by carrying mass from one map to
its neighbour at the least cost, while the cloud keeps its shape but for a few hinges. Maps are
visited along a tree that begins where the points are known, so that every step is a short one.
"""

import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import ndimage
from sklearn.cluster import KMeans

from vitreous.methods.flexible.starts.matching import match
from vitreous.methods.flexible.starts.rigid_shape import RigidShape, neighbour_edges

logger = logging.getLogger(__name__)

# Density below this share of the highest (but for a few voxels) counts as solvent.
_LEVEL = 0.22
# Parts of a map with less than this share of its mass are noise.
_ISLAND = 0.02
# Edges let go at this share of the mean edge.
_GIVE = 0.25
# How much a point moves along with what it did in the round before.
_MOMENTUM = 0.85


class Step(NamedTuple):
    """Go from a map to a neighbour: places in the list of maps."""

    source: int
    target: int


class Schedule(NamedTuple):
    """Say how a matching gets finer: widths in Å, rounds of each, and the shape's stiffness."""

    blur: tuple[float, ...] = (8.0, 5.0)
    rounds: tuple[int, ...] = (8, 16)
    reach: float = 40.0
    stiffness: float = 3.0


class Cloud(NamedTuple):
    """Hold points (Å from the box centre, x y z) and their mass, which adds up to 1."""

    points: Float[np.ndarray, "n 3"]
    mass: Float[np.ndarray, " n"]


class Track(NamedTuple):
    """Hold where a cloud is in each of several maps.

    **Fields:** `rest`: in the reference. `positions` in each map. `edges`, and how much each is
    kept over all maps (0 to 1). `mismatch`: Å between two ways to the same map, one for each loop
    that the maps close; `excursion`: how far the points moved on them (both root mean square).
    """

    rest: Cloud
    positions: Float[np.ndarray, "k g 3"]
    edges: Int[np.ndarray, "e 2"]
    strength: Float[np.ndarray, " e"]
    mismatch: Float[np.ndarray, " loops"]
    excursion: Float[np.ndarray, " loops"]


def cloud_of_map(volume: Float[np.ndarray, "n n n"], voxel_size: float) -> Cloud:
    """List the voxels of the molecule, weighed by density above solvent."""
    level = _LEVEL * np.percentile(volume, 99.9)
    above = np.maximum(volume - level, 0).astype(np.float64)
    parts, count = ndimage.label(above > 0)
    if count == 0:
        raise ValueError("a map without density cannot be followed")
    mass = np.bincount(parts.ravel(), above.ravel())
    above[mass[parts] < _ISLAND * mass.sum()] = 0
    index = np.argwhere(above > 0)
    weight = above[tuple(index.T)]
    points = (index[:, ::-1] - len(volume) // 2) * voxel_size
    return Cloud(points.astype(np.float64), weight / weight.sum())


def thin_out(cloud: Cloud, count: int, seed: int = 0) -> Cloud:
    """Let fewer points stand for a cloud, each for those nearest to it."""
    if count >= len(cloud.points):
        return cloud
    means = KMeans(count, n_init=1, random_state=seed)
    means.fit(cloud.points, sample_weight=cloud.mass)
    mass = np.bincount(means.labels_, cloud.mass, count)
    return Cloud(means.cluster_centers_[mass > 0], mass[mass > 0])


def follow(
    start: Float[np.ndarray, "g 3"],
    mass: Float[np.ndarray, " g"],
    shape: RigidShape,
    target: Cloud,
    schedule: Schedule = Schedule(),
) -> Float[np.ndarray, "g 3"]:
    """Move a cloud that lies in one map into a neighbouring one."""
    moved, before = start, np.zeros_like(start)
    for blur, rounds in zip(schedule.blur, schedule.rounds, strict=True):
        for _ in range(rounds):
            ahead = moved + _MOMENTUM * before
            goal, found = match(ahead, mass, *target, blur, schedule.reach)
            pull = found * mass * len(mass)
            after = shape.fit(ahead, goal, pull, schedule.stiffness)
            moved, before = after, after - moved
    return moved


def track(
    rest: Cloud,
    maps: Sequence[Cloud],
    tree: Sequence[Step],
    loops: Sequence[Step] = (),
    edges: Int[np.ndarray, "e 2"] | None = None,
    schedule: Schedule = Schedule(),
    passes: int = 2,
) -> Track:
    """Follow a cloud through maps.

    **Arguments:** `rest`: the cloud in the map that is the first step's source. `tree`: steps in
    an order in which every source has been reached. `loops`: steps that are not needed, but lead
    to the same place twice. `passes`: of following; each knows from the one before which edges
    do not hold, and lets go of them.
    """
    edges = neighbour_edges(rest.points) if edges is None else edges
    length = np.linalg.norm(rest.points[edges[:, 0]] - rest.points[edges[:, 1]], axis=1)
    give = _GIVE * float(length.mean())
    strength = np.ones(len(edges))
    for _ in range(passes):
        shape = RigidShape(rest.points, edges, strength, give)
        positions = np.repeat(rest.points[None], len(maps), axis=0)
        for step in tree:
            start = positions[step.source]
            positions[step.target] = follow(start, rest.mass, shape, maps[step.target], schedule)
        strength = _kept(RigidShape(rest.points, edges, None, give), positions)
    mismatch, excursion = [], []
    for step in loops:
        again = follow(positions[step.source], rest.mass, shape, maps[step.target], schedule)
        mismatch.append(_rms(again - positions[step.target], rest.mass))
        excursion.append(_rms(positions[step.target] - rest.points, rest.mass))
        logger.info("loop closed to %.1f of %.1f Å", mismatch[-1], excursion[-1])
    return Track(rest, positions, edges, strength, np.array(mismatch), np.array(excursion))


def _kept(shape: RigidShape, positions: Float[np.ndarray, "k g 3"]) -> Float[np.ndarray, " e"]:
    """Say how well each edge is kept over all maps."""
    square = [np.sum(shape.misfit(x, shape.turns(x)) ** 2, axis=1) for x in positions]
    return 1 / (1 + np.mean(square, axis=0) / shape.give**2) ** 2


def _rms(step: Float[np.ndarray, "g 3"], mass: Float[np.ndarray, " g"]) -> float:
    return float(np.sqrt(np.sum(mass * np.sum(step**2, axis=1))))

"""Two half sets aligned each to its own maps, so that their agreement can be believed.

Both begin with the same map of three shells; from there on no image of one half is ever compared
with a map that an image of the other half went into.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vitreous.geometry.point_groups import point_group
from vitreous.imaging.fourier_grid import FourierGrid, GridShape
from vitreous.methods.abinitio.assignment import (
    KEPT,
    Bands,
    Gathered,
    follow_poses,
    search_poses,
)
from vitreous.methods.abinitio.exhaustive import Trials, trials
from vitreous.methods.abinitio.orientations import (
    moved_angle,
    order_for_shell,
    shift_grid,
    shift_step,
    trial_grid,
    turned,
)
from vitreous.methods.abinitio.reference import (
    MapSums,
    maps_by_fsc,
    maps_unfiltered,
    particle_mask,
    references_grid,
    slices_of,
    sums_of_table,
)
from vitreous.methods.abinitio.setting import Setting
from vitreous.particles.processes import sum_over_processes
from vitreous.particles.shared_rows import SharedRows
from vitreous.reconstruction.fsc import fourier_shell_correlation
from vitreous.reconstruction.insertion import empty_table
from vitreous.reconstruction.pose_refinement import Poses

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Halves:
    """Hold both halves between two passes.

    **Fields:** `volumes`: filtered maps of each half and class. `sums`: what they were made of.
    `fsc`: of the unfiltered half maps (mean over classes). `noise`: power by shell. `poses`: of
    all images in the order of the table, or None. `moved`: how far the best poses went in the
    last pass, degrees. `edge`: share of images near the rim of the allowed shifts.
    """

    volumes: Float[Array, "h k n n n"]
    noise: Float[Array, " shells"]
    fsc: Float[np.ndarray, " shells"]
    sums: MapSums | None = None
    poses: Poses | None = None
    moved: Float[np.ndarray, " images"] | None = None
    edge: float = 0.0

    @property
    def score(self) -> Float[np.ndarray, " images"]:
        """Log likelihood ratio of each image at its best pose."""
        assert self.poses is not None
        return np.asarray(self.poses.score[:, 0])


def band(fsc: Float[np.ndarray, " shells"], most: int, least: int, margin: int = 2) -> int:
    """Return the last shell in use: where the FSC falls below 0.5, and `margin` more."""
    below = np.flatnonzero(fsc[1:] < 0.5)
    last = int(below[0]) if len(below) else len(fsc) - 1
    return int(np.clip(last + margin, least, most))


def one_pass(
    setting: Setting,
    halves: Halves,
    rows: Sequence[np.ndarray],
    key: jax.Array,
    fresh: np.ndarray,
    low_shell: int,
) -> Halves:
    """Find poses of all images against the maps of their own half, and make new maps.

    **Arguments:** `rows`: images of each half, or of one joint set. `fresh`: of which images
    all poses are looked at, bool `(n,)`; the others start from their last ones. `low_shell`:
    band of the grid's scores.
    """
    pixels, data = setting.pixels, setting.data
    high_shell = band(halves.fsc, pixels.max_shell, low_shell)
    bands = Bands(
        pixels.count_up_to(setting.shell(6)),
        pixels.count_up_to(low_shell),
        pixels.count_up_to(high_shell),
    )
    n = len(data)
    found = SharedRows(_no_poses(n) if halves.poses is None else halves.poses)
    before = None if halves.poses is None else np.array(halves.poses.rotation[:, 0])
    shape = GridShape(setting.box, 0)
    sums, residual, images = [], [], 0.0
    halves = replace(halves, noise=data.place(halves.noise))
    for half, mine in enumerate(rows):
        volumes = data.place(halves.volumes[half])
        grid = references_grid(volumes)
        nothing = jnp.zeros(pixels.max_shell + 1), jnp.zeros(())
        total = data.place(Gathered(empty_table(shape, setting.classes), *nothing))
        anew, again = mine[fresh[mine]], mine[~fresh[mine]]
        if len(anew):
            tried = _trials(setting, volumes, low_shell, bands, jax.random.fold_in(key, half))
            total = _search(setting, total, anew, tried, grid, halves, key, bands, found)
        if len(again):
            total = _follow(setting, total, again, grid, halves, key, bands, found)
        total = sum_over_processes(total)
        sums.append(sums_of_table(total.table, setting.box))
        residual.append(total.residual)
        images += float(total.images)
    both = MapSums(*(jnp.stack(parts) for parts in zip(*sums, strict=True)))
    return _next(setting, halves, both, residual, images, found.together(), before)


class _Tried(NamedTuple):
    """The grid of rotations, its slices, and who stands beside whom."""

    trials: Trials
    neighbours: Int[Array, "q m"]


def _trials(setting: Setting, volumes, low_shell: int, bands: Bands, key) -> _Tried:
    order = order_for_shell(low_shell, setting.box, setting.radius)
    grid, neighbours = trial_grid(order, setting.alike)
    rotation = turned(grid, key, point_group(setting.alike))
    shifts = jnp.asarray(shift_grid(setting.reach, shift_step(setting.box, low_shell)))
    slices = slices_of(volumes, rotation, setting.pixels, bands.low)
    return _Tried(trials(rotation, slices, shifts), jnp.asarray(neighbours))


def _search(setting, total, rows, tried: _Tried, grid: FourierGrid, halves, key, bands, found):
    for number, mine, counted, batch in setting.shared(rows):
        draw = jax.random.fold_in(key, 2 * number)
        total, poses = search_poses(
            total,
            batch,
            *tried,
            grid,
            halves.noise,
            jnp.asarray(setting.copies(), jnp.float32),
            draw,
            setting.pixels,
            bands,
            setting.classes,
        )
        found.put(mine, counted, poses)
    return total


def _follow(setting, total, rows, grid: FourierGrid, halves, key, bands, found):
    copies = jnp.asarray(setting.copies(), jnp.float32)
    for number, mine, counted, batch in setting.shared(rows):
        draw = jax.random.fold_in(key, 2 * number + 1)
        start = found.take(mine)
        total, poses = follow_poses(
            total,
            batch,
            start,
            grid,
            halves.noise,
            copies,
            draw,
            setting.pixels,
            bands,
            setting.classes,
        )
        found.put(mine, counted, poses)
    return total


def _no_poses(n: int) -> Poses:
    shapes = (((3, 3), np.float32), ((2,), np.float32), ((), np.int32), ((), np.float32))
    return Poses._make(np.zeros((n, KEPT, *shape), kind) for shape, kind in shapes)


def _next(setting, halves, sums: MapSums, residual, images, found, before) -> Halves:
    pixels, shells = setting.pixels, setting.pixels.max_shell + 1
    fsc = halves.fsc
    if len(sums.weight) == 2:
        fsc = agreement(setting, sums, setting.mask)
    curve = np.clip(fsc, 0, 1)
    if len(sums.weight) == 1:
        curve = 2 * curve / (1 + curve)
    filters = jnp.asarray(curve, jnp.float32)
    volumes = []
    for half in range(len(sums.weight)):
        whole = maps_by_fsc(_half(sums, half), filters, setting.mask, shells)
        mask = jnp.asarray(particle_mask(np.asarray(whole).mean(axis=0), setting.shell(6)))
        volumes.append(whole * mask[None])
    number = np.bincount(pixels.shell, pixels.weight, shells)[:shells].astype(np.float32)
    share = sum(residual[1:], residual[0]) / jnp.maximum(jnp.asarray(number) * images, 1)
    noise = jnp.where(jnp.asarray(number > 0), halves.noise * jnp.clip(share, 0.2, 2), halves.noise)
    noise = noise.at[0].set(noise[1])
    moved = None
    if before is not None:
        moved = moved_angle(found.rotation[:, 0], before, point_group(setting.alike))
    reach = np.linalg.norm(found.shift[:, 0], axis=-1)
    return replace(
        halves,
        volumes=jnp.stack(volumes),
        noise=noise,
        fsc=fsc,
        sums=sums,
        poses=found,
        moved=moved,
        edge=float(np.mean(reach > 0.9 * setting.reach)),
    )


def agreement(
    setting: Setting, sums: MapSums, mask: Float[Array, "n n n"]
) -> Float[np.ndarray, " shells"]:
    """Return the FSC of the unfiltered half maps within a mask, mean over classes."""
    shells = setting.pixels.max_shell + 1
    plain = [maps_unfiltered(_half(sums, h), mask, shells) for h in range(2)]
    curves = [
        np.asarray(fourier_shell_correlation(plain[0][k], plain[1][k]))[:shells]
        for k in range(setting.classes)
    ]
    fsc = np.mean(curves, axis=0)
    fsc[0] = 1.0
    return fsc


def _half(sums: MapSums, half: int) -> MapSums:
    return MapSums(sums.numerator[half], sums.weight[half])

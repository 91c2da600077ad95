"""Tilt series: poses are searched for one image of each particle, the others follow its turn.

The first image of a particle is the least damaged. How the stage stood in the others is known, so
that all of them together improve the pose found in the first, and tell the hand, which the first
images alone cannot.
"""

import logging
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vitreous.errors import InputError
from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.geometry.hand import mirror, mirror_rotations
from vitreous.imaging.fourier_grid import FourierGrid, volume_to_grid
from vitreous.methods.abinitio.conformations import at_poses, fit_conformations
from vitreous.methods.abinitio.found import Found, typical_maps
from vitreous.methods.abinitio.halves import band
from vitreous.methods.abinitio.reference import particle_mask, references_grid
from vitreous.methods.abinitio.setting import Setting
from vitreous.particles import ParticleTable
from vitreous.particles.order import Groups
from vitreous.particles.prepare import Batch
from vitreous.particles.shared_rows import SharedRows
from vitreous.particles.tilts import tilt_groups
from vitreous.reconstruction.foundation import reconstruct_consensus, residual_spectrum
from vitreous.reconstruction.pose_refinement import grid_predictor
from vitreous.reconstruction.series_refinement import (
    SeriesPoses,
    Views,
    image_poses,
    refine_series,
)
from vitreous.reconstruction.weighed import weigh

logger = logging.getLogger(__name__)

# Images looked at together, steps of a refinement, and how often maps are made anew.
_BATCH, _STEPS, _ROUNDS = 64, 6, 2
# Shells that take part at least, of a particle that fills 62 % of the box.
_LEAST_SHELL = 6
# Maps that stand for a landscape.
_CLASSES = 5


@dataclass(frozen=True, eq=False)
class Series:
    """Hold how the images of particles belong together.

    **Fields:** `groups`: the images of each particle, the first exposed in front. `turn`: from
    the view of that one to each image's. `shift`: where the table puts particles, Å.
    """

    groups: Groups
    turn: Float[np.ndarray, "n 3 3"]
    shift: Float[np.ndarray, "n 2"]

    @property
    def reference(self) -> Int[np.ndarray, " g"]:
        """The first image of each particle."""
        return self.groups.rows[:, 0]

    @property
    def owner(self) -> Int[np.ndarray, " n"]:
        """The particle, counted from 0, that each image shows."""
        owner = np.zeros(len(self.turn), np.int32)
        owner[self.groups.rows] = np.arange(len(self.groups), dtype=np.int32)[:, None]
        return owner


def series_of(table: ParticleTable) -> Series | None:
    """Read from a table which images show one particle, and how the stage stood.

    **Returns:** None for single images.

    **Raises:** `InputError` for tilt images whose table does not tell how they are turned.
    """
    groups = tilt_groups(table)
    if groups is None or groups.size == 1:
        return None
    if table.rotation is None:
        raise InputError(
            f"{table.path}: {len(table)} tilt images of {len(groups)} particles without angles: "
            "how far apart the views of a particle are must be known; take the first image of "
            "each alone with --ntilts 1"
        )
    first = np.zeros(len(table), np.int64)
    first[groups.rows] = groups.rows[:, :1]
    rotation = np.asarray(table.rotation, np.float64)
    turn = rotation @ rotation[first].transpose(0, 2, 1)
    return Series(groups, turn.astype(np.float32), np.asarray(table.shift, np.float32))


def follow_tilts(
    setting: Setting, series: Series, found: Found, zdim: int, keep_map: bool = False
) -> Found:
    """Improve what was found of first images by all images of their particles.

    **Arguments:** `setting`: of all images. `found`: a row a particle, of the first images.
    `keep_map`: the map was given, and stays with its hand.

    **Returns:** poses and scores of all images (score: the particle's); latents a row a particle.
    """
    size = setting.pixel_size
    off = (found.shift - series.shift[series.reference]) / size
    depth = np.zeros((len(off), 1), np.float32)
    poses = SeriesPoses(
        jnp.asarray(found.rotation, jnp.float32),
        jnp.asarray(np.concatenate([off, depth], axis=1), jnp.float32),
        jnp.zeros(len(off)),
    )
    follow = _Follower(setting, series)
    found, poses = _of_either_hand(follow, found, poses, keep_map)
    kept = found.volumes
    for number in range(_ROUNDS):
        found = follow.with_maps(found, poses, zdim)
        if keep_map:
            found = replace(found, volumes=kept)
        poses = follow.refined(found, poses)
        words = f"log likelihood ratio {float(poses.score.mean()):.2f} a particle"
        setting.report("tilts follow", number + 1, _ROUNDS, words)
        logger.info("all tilts, pass %d: %s", number + 1, words)
    found = follow.with_maps(found, poses, zdim)
    return replace(found, volumes=kept) if keep_map else found


def _of_either_hand(
    follow: "_Follower", found: Found, poses: SeriesPoses, keep_map: bool
) -> tuple[Found, SeriesPoses]:
    """Take the hand that the other images of the particles like better."""
    other = replace(
        found,
        rotation=mirror_rotations(found.rotation),
        volumes=np.stack([mirror(volume) for volume in found.volumes]),
        half_maps=np.stack([mirror(volume) for volume in found.half_maps]),
    )
    mirrored = poses._replace(rotation=jnp.asarray(other.rotation, jnp.float32))
    hands = [(found, poses), (other, mirrored)]
    refined = [follow.refined(*hand) for hand in hands]
    margin = float(refined[0].score.mean()) - float(refined[1].score.mean())
    logger.info("hand: the tilts favour the one found by %.2f in log likelihood a particle", margin)
    if keep_map and margin < 0:
        logger.warning("the tilts favour the mirror image of the map given (vitreous flip-hand)")
    best = 1 if margin < 0 and not keep_map else 0
    return replace(hands[best][0], hand_margin=margin if keep_map else abs(margin)), refined[best]


class _Follower:
    """Images of all tilts, and what is asked of them again and again."""

    def __init__(self, setting: Setting, series: Series) -> None:
        self.setting, self.series, self.size = setting, series, setting.pixel_size
        self.noise: Array = setting.image_power()

    def refined(self, found: Found, poses: SeriesPoses) -> SeriesPoses:
        """Improve the poses of all particles against the maps that were found."""
        setting, pixels, series = self.setting, self.setting.pixels, self.series
        least = setting.shell(_LEAST_SHELL)
        count = pixels.count_up_to(band(np.asarray(found.fsc), pixels.max_shell, least))
        z = None if found.latents is None else found.latents.mean
        maps, state = typical_maps(found.volumes, z, _CLASSES)
        state = state if len(state) else np.zeros(len(series.groups), np.int32)
        mask = particle_mask(np.asarray(maps).mean(axis=0), least)
        grid = references_grid(jnp.asarray(maps * mask[None]))
        plan, first = setting.data.plan_in_order(_BATCH, series.groups), series.groups.size
        new = SharedRows(poses)
        for part in setting.shared_plan(plan):
            mine, rows = series.owner[part.rows[::first]], part.rows
            shift = jnp.asarray(series.shift[rows] / self.size)
            better = _refined(
                part.batch,
                new.take(mine),
                Views(jnp.asarray(series.turn[rows]), shift),
                jnp.asarray(state[mine]),
                grid,
                self.noise,
                jnp.float32(setting.reach),
                pixels,
                count,
            )
            new.put(mine, part.counted[::first], better)
        return SeriesPoses(*map(jnp.asarray, new.together()))

    def with_maps(self, found: Found, poses: SeriesPoses, zdim: int) -> Found:
        """Make maps, half maps and latents of all images at their poses."""
        series, data = self.series, self.setting.data
        spread = SeriesPoses(*(leaf[series.owner] for leaf in poses))
        views = Views(jnp.asarray(series.turn), jnp.asarray(series.shift / self.size))
        rotation, shift = (np.asarray(x) for x in image_poses(spread, views))
        placed = at_poses(data, rotation, shift * self.size)
        mean = reconstruct_consensus(placed, self.size, _BATCH)
        volume = np.asarray(mean.volume) * np.asarray(self.setting.mask)
        noise = residual_spectrum(placed, volume_to_grid(jnp.asarray(volume)), _BATCH)
        self.noise = jnp.asarray(noise).at[0].set(noise[1])
        found = replace(
            found,
            rotation=rotation,
            shift=shift * self.size,
            volumes=volume[None],
            half_maps=np.asarray(mean.half_maps),
            fsc=np.asarray(mean.fsc),
            score=np.asarray(spread.score),
        )
        return found if zdim == 0 else fit_conformations(self.setting, found, zdim)


@partial(jax.jit, static_argnames=("pixels", "count"))
def _refined(
    batch: Batch,
    poses: SeriesPoses,
    views: Views,
    state: Int[Array, " g"],
    grid: FourierGrid,
    noise: Float[Array, " shells"],
    spread: Float[Array, ""],
    pixels: FourierPixels,
    count: int,
) -> SeriesPoses:
    weighed = weigh(batch, pixels, noise, count)
    predict = grid_predictor(grid, pixels, count)
    return refine_series(predict, weighed, poses, views, state, pixels, _STEPS, spread)

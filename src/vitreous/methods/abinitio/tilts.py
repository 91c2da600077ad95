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
from vitreous.methods.abinitio.found import Found
from vitreous.methods.abinitio.halves import band
from vitreous.methods.abinitio.reference import particle_mask, references_grid
from vitreous.methods.abinitio.setting import Setting
from vitreous.particles import ParticleTable
from vitreous.particles.loader import PreparedImages
from vitreous.particles.order import Groups
from vitreous.particles.prepare import Batch
from vitreous.particles.shared_rows import SharedRows
from vitreous.particles.tilts import tilt_groups
from vitreous.reconstruction.foundation import reconstruct_consensus, residual_spectrum
from vitreous.reconstruction.pose_refinement import landscape_predictor
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
    off = found.shift - series.shift[series.reference]
    poses = poses_at(found.rotation, off / setting.pixel_size)
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


def poses_at(rotation: Float[np.ndarray, "g 3 3"], offset: Float[np.ndarray, "g 2"]) -> SeriesPoses:
    """Return poses of particles found in their first images; in depth nothing is known.

    **Arguments:** `offset`: from where the table puts the particles, pixels.
    """
    count = len(offset)
    off = np.concatenate([offset, np.zeros((count, 1))], axis=1)
    return SeriesPoses(
        jnp.asarray(rotation, jnp.float32),
        jnp.asarray(off, jnp.float32),
        jnp.zeros(count),
        jnp.zeros((count, 0)),
    )


def spread_poses(
    series: Series, poses: SeriesPoses, pixel_size: float
) -> tuple[Float[np.ndarray, "n 3 3"], Float[np.ndarray, "n 2"]]:
    """Return rotation and shift (Å) of every image, in the order of the table."""
    spread = SeriesPoses(*(leaf[series.owner] for leaf in poses))
    views = Views(jnp.asarray(series.turn), jnp.asarray(series.shift / pixel_size))
    rotation, shift = (np.asarray(x) for x in image_poses(spread, views))
    return rotation, shift * pixel_size


def refined_by_all(
    setting: Setting,
    series: Series,
    poses: SeriesPoses,
    volumes: Float[np.ndarray, "k n n n"],
    latents: tuple[Float[np.ndarray, "g d"], Float[np.ndarray, " d"]] | None,
    noise: Float[Array, " shells"],
    high: int,
) -> SeriesPoses:
    """Improve the poses of particles, and their latents, by all their images.

    **Arguments:** `setting`: of all images. `poses`: their latents are not used. `volumes`: mean
    map, then what latents multiply. `latents`: those to begin with, and the standard deviation of
    each dimension; None holds to the mean map. `noise`: its power by shell. `high`: the last shell
    that counts.

    **Returns:** poses; latents in standard deviations.
    """
    pixels = setting.pixels
    if latents is None:
        latents = np.zeros((len(series.groups), 0), np.float32), np.zeros(0, np.float32)
    z, deviation = latents
    d = len(deviation)
    mask = particle_mask(volumes[0], setting.shell(_LEAST_SHELL))
    scale = np.concatenate([np.ones(1, np.float32), deviation])
    shown = volumes[: d + 1] * mask[None] * scale[:, None, None, None]
    grid = references_grid(jnp.asarray(shown, jnp.float32))
    poses = poses._replace(latent=jnp.asarray(z / deviation, jnp.float32))
    plan, first = setting.data.plan_in_order(_BATCH, series.groups), series.groups.size
    new = SharedRows(poses)
    for part in setting.shared_plan(plan):
        mine, rows = series.owner[part.rows[::first]], part.rows
        shift = jnp.asarray(series.shift[rows] / setting.pixel_size)
        better = _refined(
            part.batch,
            new.take(mine),
            Views(jnp.asarray(series.turn[rows]), shift),
            grid,
            noise,
            jnp.float32(setting.reach),
            pixels,
            pixels.count_up_to(high),
        )
        new.put(mine, part.counted[::first], better)
    return SeriesPoses(*map(jnp.asarray, new.together()))


def noise_beside(placed: PreparedImages, volume: Float[Array, "n n n"]) -> Float[Array, " shells"]:
    """Measure the power that a map leaves over of images with poses."""
    left = residual_spectrum(placed, volume_to_grid(volume), _BATCH)
    # Shell 0 holds no pixel.
    return jnp.asarray(left).at[0].set(left[1])


class _Follower:
    """Images of all tilts, and what is asked of them again and again."""

    def __init__(self, setting: Setting, series: Series) -> None:
        self.setting, self.series = setting, series
        self.noise: Array = setting.image_power()

    def refined(self, found: Found, poses: SeriesPoses) -> SeriesPoses:
        """Improve the poses of all particles against the maps that were found."""
        setting = self.setting
        least = setting.shell(_LEAST_SHELL)
        high = band(np.asarray(found.fsc), setting.pixels.max_shell, least)
        latents = None
        if found.latents is not None:
            z = np.asarray(found.latents.mean)
            latents = z, np.sqrt(np.mean(z**2, axis=0) + 1e-20).astype(np.float32)
        return refined_by_all(setting, self.series, poses, found.volumes, latents, self.noise, high)

    def with_maps(self, found: Found, poses: SeriesPoses, zdim: int) -> Found:
        """Make maps, half maps and latents of all images at their poses."""
        setting, series = self.setting, self.series
        rotation, shift = spread_poses(series, poses, setting.pixel_size)
        placed = at_poses(setting.data, rotation, shift)
        mean = reconstruct_consensus(placed, setting.pixel_size, _BATCH)
        volume = np.asarray(mean.volume) * np.asarray(setting.mask)
        self.noise = noise_beside(placed, jnp.asarray(volume))
        found = replace(
            found,
            rotation=rotation,
            shift=shift,
            volumes=volume[None],
            half_maps=np.asarray(mean.half_maps),
            fsc=np.asarray(mean.fsc),
            score=np.asarray(poses.score)[series.owner],
        )
        return found if zdim == 0 else fit_conformations(setting, found, zdim)


@partial(jax.jit, static_argnames=("pixels", "count"))
def _refined(
    batch: Batch,
    poses: SeriesPoses,
    views: Views,
    grid: FourierGrid,
    noise: Float[Array, " shells"],
    spread: Float[Array, ""],
    pixels: FourierPixels,
    count: int,
) -> SeriesPoses:
    weighed = weigh(batch, pixels, noise, count)
    predict = landscape_predictor(grid, poses.latent.shape[1], pixels, count)
    return refine_series(predict, weighed, poses, views, pixels, _STEPS, spread)

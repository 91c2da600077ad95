"""Poses of a batch refined at the volumes that its latents stand for, by Gauss–Newton steps."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float

from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.methods.latent.state import LatentModel
from vitreous.particles.prepare import Batch
from vitreous.reconstruction.foundation import (
    Foundation,
    centred_pixels,
    transfer_of,
)
from vitreous.reconstruction.fsc import crossing
from vitreous.reconstruction.pose_correction import refined_corrections
from vitreous.reconstruction.pose_refinement import Number, slice_predictor
from vitreous.reconstruction.weighed import weigh
from vitreous.training.row_adam import RowTable, gather_rows

if TYPE_CHECKING:
    from vitreous.methods.latent.model import LatentMethod

# Every so many epochs: in between the networks follow.
_EVERY = 2
# Shells in use beyond that where half maps cease to agree.
_MARGIN = 2


def moved_poses(
    method: "LatentMethod",
    poses: RowTable,
    gradient: Float[Array, "b 5"],
    epoch: Float[Array, ""],
    model: LatentModel,
    batch: Batch,
    z: Float[Array, "g d"] | None,
) -> RowTable:
    """Move the poses of a batch: by Gauss–Newton steps, or one of Adam.

    **Arguments:** `epoch`: since the beginning; poses do not move before `pretrain_pose`. `z`:
    free latents, None if an encoder tells them.
    """
    config, pixels = method.config, method.pixels
    if config.pose_steps == 0:
        speed = jnp.where(epoch >= config.pretrain_pose, config.pose_rate, 0.0)
        return poses.update(batch.index, gradient, speed, batch.weight)

    def better(correction: Float[Array, "b 5"]) -> Float[Array, "b 5"]:
        seen = _latents(method, model, batch, correction, z)
        return better_corrections(
            lambda rotation, frequency: model.decoder.slices(rotation, frequency, seen),
            batch,
            pixels,
            jnp.asarray(method.foundation.noise),
            correction,
            pose_band(method.foundation, pixels),
            config.pose_steps + 1,
            config.pose_spread,
        )

    after = jnp.floor(epoch - config.pretrain_pose)
    due = (after >= 0) & (jnp.mod(after, float(_EVERY)) == 0)
    now = gather_rows(poses, batch.index)
    return poses.put(batch.index, jax.lax.cond(due, better, lambda c: c, now), batch.weight)


def _latents(
    method: "LatentMethod",
    model: LatentModel,
    batch: Batch,
    correction: Float[Array, "b 5"],
    z: Float[Array, "g d"] | None,
) -> Float[Array, "b d"] | None:
    """Return the latent of every image: the encoder's mean, or a free one."""
    if model.encoder is not None:
        pose = method.pose(batch, correction)
        centred = centred_pixels(batch, method.pixels, pose.shift)
        z, _ = method.encode(model, batch, pose, centred, transfer_of(batch, method.pixels))
    return z if z is None or method.tilts == 1 else jnp.repeat(z, method.tilts, axis=0)


def pose_band(foundation: Foundation, pixels: FourierPixels) -> int:
    """Count the pixels that tell poses: shells in which half maps at the given poses agree.

    Beyond, poses that are off have blurred the map, and a step could run into a wrong wave.
    """
    last = None if foundation.fsc is None else crossing(foundation.fsc, 0.143)
    if last is None:
        return len(pixels)
    return pixels.count_up_to(min(max(int(last) + _MARGIN, 4), pixels.max_shell))


def better_corrections(
    slices: Callable[[Float[Array, "b 3 3"], Float[Array, "p 2"]], Complex[Array, "b p"]],
    batch: Batch,
    pixels: FourierPixels,
    noise: Float[Array, " shells"],
    correction: Float[Array, "b 5"],
    count: int,
    steps: int,
    spread: tuple[Number, Number],
) -> Float[Array, "b 5"]:
    """Improve the pose corrections of a batch.

    **Arguments:** `slices`: of each image's volume, without CTF, at rotations and frequencies in
    cycles/box. `correction`: see `corrected_pose`. `count`: leading pixels in use. `steps`: each
    costs a slice and three derivatives; one is kept only if images are likelier then. `spread`:
    expected errors of the poses given (degrees, each axis, and Å), the prior of the corrections.
    """
    frequency = jnp.asarray(pixels.frequency[:count])
    predict = slice_predictor(lambda rotation: slices(rotation, frequency))
    weighed = weigh(batch, pixels, noise, count)
    return refined_corrections(predict, weighed, batch, pixels, correction, steps, spread)

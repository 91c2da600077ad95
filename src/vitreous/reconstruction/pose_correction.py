"""Local corrections of the poses: small rotations in the tangent space, shifts in Å."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.geometry.rotations import matrix_to_rotation_vector, rotation_vector_to_matrix
from vitreous.particles.prepare import Batch
from vitreous.reconstruction.foundation import known_rotation
from vitreous.reconstruction.pose_refinement import Number, Poses, Predictor, refine_poses
from vitreous.reconstruction.weighed import Weighed


class Pose(NamedTuple):
    """Hold a batch of poses: `rotation` volume to image, `shift` in Å."""

    rotation: Float[Array, "b 3 3"]
    shift: Float[Array, "b 2"]


def corrected_pose(
    rotation: Float[Array, "b 3 3"],
    shift: Float[Array, "b 2"],
    correction: Float[Array, "b 5"],
) -> Pose:
    """Apply corrections `(ωx, ωy, ωz, tx, ty)`: `R ← exp([ω]×) R`, `t ← t + (tx, ty)`.

    **Arguments:** `correction`: ω in degrees, t in Å; zeros leave the pose as it is.
    """
    turn = rotation_vector_to_matrix(correction[:, :3])
    turned = jnp.einsum("bij,bjk->bik", turn, rotation)
    return Pose(turned, shift + correction[:, 3:])


def refined_corrections(
    predict: Predictor,
    weighed: Weighed,
    batch: Batch,
    pixels: FourierPixels,
    correction: Float[Array, "b 5"],
    steps: int | Int[Array, ""],
    spread: tuple[Number, Number],
) -> Float[Array, "b 5"]:
    """Improve the pose corrections of a batch by Gauss–Newton steps.

    **Arguments:** `predict`, `weighed`: of each image, as `refine_poses` takes them. `pixels`: of
    which those of `weighed` are the first. `correction`: see `corrected_pose`. `steps`: each costs
    an image and its derivatives; one is kept only if images are likelier then. `spread`: expected
    errors of the poses given (degrees, each axis, and Å), the prior of the corrections.
    """
    size = batch.pixel_size[:, None]
    given = known_rotation(batch)
    pose = corrected_pose(given, batch.shift, correction)
    none = jnp.zeros((len(given), 1))
    start = Poses(
        pose.rotation[:, None], (pose.shift / size)[:, None], none.astype(jnp.int32), none
    )
    gone = jnp.concatenate([jnp.deg2rad(correction[:, :3]), correction[:, 3:] / size], axis=-1)
    prior = (spread[0], spread[1] / jnp.mean(size))
    found = refine_poses(predict, weighed, start, pixels, steps, prior, gone[:, None]).poses
    turn = jnp.einsum("bij,bkj->bik", found.rotation[:, 0], given, precision="highest")
    move = found.shift[:, 0] * size - batch.shift
    return jnp.concatenate([matrix_to_rotation_vector(turn), move], axis=-1)

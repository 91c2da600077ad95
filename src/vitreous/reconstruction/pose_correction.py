"""Local corrections of the poses: small rotations in the tangent space, shifts in Å."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from vitreous.geometry.rotations import rotation_vector_to_matrix


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

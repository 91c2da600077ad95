"""Where a particle is and how it is turned: a rigid motion from volume to image coordinates.

`x_image = R x_volume + (tx, ty, z)`: the first two of the shift are where the centre lies in the
image, the third is its height along the beam, which adds to the defocus.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vitreous.geometry.rotations import (
    euler_to_matrix,
    matrix_to_euler,
    matrix_to_rotation_vector,
    quaternion_to_matrix,
    random_rotations,
    rotation_vector_to_matrix,
)

_Values = Float[Array | np.ndarray, "..."]


class Pose(eqx.Module):
    """Hold the poses of any batch of particles.

    **Fields:** `rotation`: volume to image, `(..., 3, 3)`. `shift`: `(tx, ty)` in Å, `(..., 2)`.
    `z_offset`: Å along the beam, added to the defocus, `(...)`. All share their leading axes.

    ```python
    >>> poses = Pose.from_euler(jnp.zeros((5, 3)), shift=jnp.array([3.0, -1.0]))
    >>> poses.batch, poses.inverse().shift[0].tolist()
    ((5,), [-3.0, 1.0])

    ```
    """

    rotation: Float[Array, "*batch 3 3"]
    shift: Float[Array, "*batch 2"]
    z_offset: Float[Array, "*batch"]

    def __init__(
        self,
        rotation: Float[Array | np.ndarray, "... 3 3"],
        shift: _Values | None = None,
        z_offset: _Values | float | None = None,
    ) -> None:
        self.rotation = jnp.asarray(rotation)
        batch, dtype = self.rotation.shape[:-2], self.rotation.dtype
        shift = jnp.zeros(2, dtype) if shift is None else jnp.asarray(shift, dtype)
        z = jnp.zeros((), dtype) if z_offset is None else jnp.asarray(z_offset, dtype)
        self.shift = jnp.broadcast_to(shift, (*batch, 2))
        self.z_offset = jnp.broadcast_to(z, batch)

    @staticmethod
    def identity(*batch: int) -> "Pose":
        """Return poses that neither turn nor move."""
        return Pose(jnp.broadcast_to(jnp.eye(3), (*batch, 3, 3)))

    @staticmethod
    def from_euler(
        angles: Float[Array | np.ndarray, "... 3"],
        shift: _Values | None = None,
        z_offset: _Values | float | None = None,
    ) -> "Pose":
        """Make poses from RELION's angles `(rot, tilt, psi)` in degrees."""
        return Pose(euler_to_matrix(jnp.asarray(angles)), shift, z_offset)

    @staticmethod
    def from_quaternion(
        quaternion: Float[Array | np.ndarray, "... 4"],
        shift: _Values | None = None,
        z_offset: _Values | float | None = None,
    ) -> "Pose":
        """Make poses from quaternions `(w, x, y, z)` of any non-zero length."""
        return Pose(quaternion_to_matrix(jnp.asarray(quaternion)), shift, z_offset)

    @staticmethod
    def from_rotation_vector(
        vector: Float[Array | np.ndarray, "... 3"],
        shift: _Values | None = None,
        z_offset: _Values | float | None = None,
    ) -> "Pose":
        """Make poses from rotation vectors, axis × angle in degrees; smooth at zero."""
        return Pose(rotation_vector_to_matrix(jnp.asarray(vector)), shift, z_offset)

    @staticmethod
    def random(key: jax.Array, count: int, max_shift: float = 0.0) -> "Pose":
        """Draw rotations uniformly from SO(3) and shifts evenly from `±max_shift` Å."""
        turns, places = jax.random.split(key)
        shift = jax.random.uniform(places, (count, 2), minval=-max_shift, maxval=max_shift)
        return Pose(random_rotations(turns, count), shift)

    @property
    def batch(self) -> tuple[int, ...]:
        """The leading axes, `()` for a single pose."""
        return self.rotation.shape[:-2]

    def __getitem__(self, index: int | slice | Int[Array | np.ndarray, "..."]) -> "Pose":
        """Pick poses along the first axis."""
        return jax.tree.map(lambda field: field[index], self)

    def angles(self) -> Float[Array, "... 3"]:
        """Return RELION's angles `(rot, tilt, psi)` in degrees."""
        return matrix_to_euler(self.rotation)

    def translation(self) -> Float[Array, "... 3"]:
        """Return `(tx, ty, z)` in Å."""
        return jnp.concatenate([self.shift, self.z_offset[..., None]], axis=-1)

    def apply(self, points: Float[Array, "... m 3"]) -> Float[Array, "... m 3"]:
        """Move points (Å, volume coordinates) to image coordinates; batch axes broadcast."""
        rank = max(self.rotation.ndim, points.ndim)
        points = points.reshape(*(1,) * (rank - points.ndim), *points.shape)
        rotation = self.rotation.reshape(*(1,) * (rank - self.rotation.ndim), *self.rotation.shape)
        moved = jnp.einsum("...ij,...mj->...mi", rotation, points, precision="highest")
        translation = self.translation()[..., None, :]
        return moved + translation.reshape(*(1,) * (rank - translation.ndim), *translation.shape)

    def compose(self, first: "Pose") -> "Pose":
        """Return the motion `self` after `first`, both with the same leading axes."""
        rotation = jnp.matmul(self.rotation, first.rotation, precision="highest")
        moved = self.apply(first.translation()[..., None, :])[..., 0, :]
        return Pose(rotation, moved[..., :2], moved[..., 2])

    def inverse(self) -> "Pose":
        """Return the motion that undoes this one."""
        back = jnp.swapaxes(self.rotation, -1, -2)
        moved = -jnp.einsum("...ij,...j->...i", back, self.translation(), precision="highest")
        return Pose(back, moved[..., :2], moved[..., 2])

    def retract(
        self, turn: Float[Array, "... 3"], move: Float[Array, "... 3"] | None = None
    ) -> "Pose":
        """Take a step in the tangent space at these poses, `exp([turn]×) R` and `t + move`.

        **Arguments:** `turn`: rotation vector in degrees about the axes of the image. `move`: Å.
        Gradients with respect to zero steps are those of the pose itself.
        """
        step = rotation_vector_to_matrix(turn)
        translation = self.translation() if move is None else self.translation() + move
        rotation = jnp.matmul(step, self.rotation, precision="highest")
        return Pose(rotation, translation[..., :2], translation[..., 2])

    def tangent_to(self, other: "Pose") -> tuple[Float[Array, "... 3"], Float[Array, "... 3"]]:
        """Return the `turn` and `move` with which `retract` leads to the other poses."""
        back = jnp.swapaxes(self.rotation, -1, -2)
        turn = matrix_to_rotation_vector(jnp.matmul(other.rotation, back, precision="highest"))
        return turn, other.translation() - self.translation()

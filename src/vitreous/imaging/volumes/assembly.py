"""Copies of one volume, turned and moved: point groups, helices, anything rigid.

A copy's image is the subunit's at a composed pose, so an assembly costs memory for one subunit.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from vitreous.geometry.point_groups import point_group
from vitreous.geometry.shift import phase_shift
from vitreous.imaging.grid import ImageGrid
from vitreous.imaging.pose import Pose
from vitreous.imaging.volumes.base import Volume


class Assembly(Volume):
    """Hold a volume and the rigid motions of its copies.

    **Fields:** `subunit`: any volume. `copies`: one pose a copy, `x = R x_subunit + t` with
    `t = (shift, z_offset)`; all of it may be differentiated.

    **Projects by:** whatever its subunit does.
    """

    subunit: Volume
    copies: Pose

    @staticmethod
    def symmetric(
        subunit: Volume, group: str, place: Float[Array, "3"] | None = None
    ) -> "Assembly":
        """Arrange copies by a point group.

        **Arguments:** `group`: `C4`, `D2`, `T`, `O`, `I`; axes as `geometry.point_groups` says.
        `place`: where the first copy's centre lies, Å.
        """
        rotation = jnp.asarray(point_group(group), float)
        if place is None:
            return Assembly(subunit, Pose(rotation))
        moved = jnp.sum(rotation * place.astype(rotation.dtype)[None, None], axis=-1)
        return Assembly(subunit, Pose(rotation, moved[:, :2], moved[:, 2]))

    @staticmethod
    def helix(
        subunit: Volume,
        rise: float | Array,
        twist: float | Array,
        count: int,
        starts: int = 1,
        place: Float[Array, "3"] | None = None,
    ) -> "Assembly":
        """Wind copies around the z axis, the middle of the helix at the origin.

        **Arguments:** `rise` in Å along the axis and `twist` in degrees about it, right-handed,
        from one copy to the next of a strand. `count`: copies of a strand. `starts`: strands,
        turned evenly. `place`: where a copy's centre lies before it is turned, Å: its first entry
        is the radius.
        """
        rise, twist = jnp.asarray(rise), jnp.asarray(twist)
        step = np.arange(count)
        strand = jnp.asarray(np.arange(starts) * (360 / starts), twist.dtype)
        turn = (strand[:, None] + (jnp.asarray(step, twist.dtype) * twist)[None]).reshape(-1)
        height = jnp.tile(jnp.asarray(step - (count - 1) / 2, rise.dtype) * rise, starts)
        about_z = jnp.stack([jnp.zeros_like(turn), jnp.zeros_like(turn), turn], axis=-1)
        poses = Pose.from_rotation_vector(about_z, z_offset=height)
        if place is not None:
            first = Pose(jnp.eye(3, dtype=turn.dtype), place[:2], place[2])
            first = jax.tree.map(lambda x: jnp.broadcast_to(x, (len(turn), *x.shape)), first)
            poses = poses.compose(first)
        return Assembly(subunit, poses)

    @property
    def methods(self) -> tuple[str, ...]:
        """Those of the subunit."""
        return self.subunit.methods

    @property
    def voxel_size(self) -> Float[Array, "..."] | None:
        """That of the subunit."""
        return self.subunit.voxel_size

    def __len__(self) -> int:
        return self.copies.batch[0]

    def transform_at(self, frequency: Float[Array, "b p 3"]) -> Complex[Array, "b p"]:
        """Add up the subunit's transform at every copy's frequencies, with its phase."""

        copies = jax.tree.map(lambda x: x.astype(frequency.dtype), self.copies)

        def add(total, copy: Pose):
            # F_copy(q) = F(Rᵀ q) exp(−2πi q·t).
            turned = jnp.matmul(frequency, copy.rotation, precision="highest")
            phases = phase_shift(frequency, copy.translation()[None])
            values = self.subunit.transform_at(turned)
            return total + values * phases.astype(values.dtype), None

        zero = jax.eval_shape(self.subunit.transform_at, frequency)
        return jax.lax.scan(add, jnp.zeros(zero.shape, zero.dtype), copies)[0]

    def best_method(self, grid: ImageGrid) -> str:
        """Choose what is best for the subunit."""
        return self.subunit.best_method(grid)

    def project(
        self, rotation: Float[Array, "b 3 3"], grid: ImageGrid, method: str
    ) -> Complex[Array, "b n h"]:
        """Add up the subunit's projections at the poses of all copies."""
        k = grid.frequencies().reshape(-1, 2).astype(rotation.dtype)
        copies = jax.tree.map(lambda x: x.astype(rotation.dtype), self.copies)

        def add(total, copy: Pose):
            turned = jnp.matmul(rotation, copy.rotation[None], precision="highest")
            moved = jnp.sum(rotation * copy.translation()[None, None], axis=-1)
            half = self.subunit.project(turned, grid, method)
            phases = phase_shift(k[None], moved[:, :2]).reshape(half.shape)
            return total + half * phases.astype(half.dtype), None

        zero = jax.eval_shape(lambda r: self.subunit.project(r, grid, method), rotation)
        return jax.lax.scan(add, jnp.zeros(zero.shape, zero.dtype), copies)[0]

"""A field that moves nothing outside a mask."""

from typing import cast

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float, UInt8

from vitreous.errors import InputError
from vitreous.imaging.volumes.fitting import fit_map
from vitreous.maps import read_map
from vitreous.methods.flexible.bodies.rigid_bodies import RigidBodies
from vitreous.methods.flexible.deformation import Deformation, FactorisedDeformation

# A share of 1 in the stored mask, whose integers no gradient changes.
_ONE = 255


class MaskedDeformation(Deformation):
    """Scale a field by a mask read between its voxels; beyond the box nothing moves.

    **Fields:** `mask`: 0 to 255. `voxel_size`: Å.
    """

    inner: Deformation
    mask: UInt8[Array, "n n n"]
    voxel_size: float = eqx.field(static=True)

    def share_at(self, points: Float[Array, "m 3"]) -> Float[Array, " m"]:
        """Return how much of its displacement each point has, 0 to 1."""
        place = points[:, ::-1].T / self.voxel_size + self.mask.shape[-1] // 2
        values = self.mask.astype(points.dtype) / _ONE
        return map_coordinates(values, list(place), 1)

    def __call__(
        self, points: Float[Array, "m 3"], z: Float[Array, "b d"]
    ) -> Float[Array, "b m 3"]:
        """Return displacements in Å."""
        return self.share_at(points)[None, :, None] * self.inner(points, z)


class MaskedModes(MaskedDeformation):
    """The same of a field that has modes and weights."""

    def modes(self, points: Float[Array, "m 3"]) -> Float[Array, "m k 3"]:
        """Evaluate all modes at some points, Å."""
        inner = cast(FactorisedDeformation, self.inner)
        return self.share_at(points)[:, None, None] * inner.modes(points)

    def weights(self, z: Float[Array, "b d"]) -> Float[Array, "b k"]:
        """Evaluate how much of each mode some latents have."""
        return cast(FactorisedDeformation, self.inner).weights(z)


def masked(
    field: Deformation, mask: UInt8[np.ndarray, "n n n"], voxel_size: float
) -> MaskedDeformation:
    """Put a mask on a field."""
    kind = MaskedDeformation
    if isinstance(field, FactorisedDeformation | RigidBodies):
        kind = MaskedModes
    return kind(field, jnp.asarray(mask), float(voxel_size))


def read_motion_mask(
    path: str, box: int, pixel_size: float, points: Float[np.ndarray, "m 3"]
) -> UInt8[np.ndarray, "n n n"]:
    """Read where points may move.

    **Raises:** `InputError` if none of the points lies inside.
    """
    mask = np.clip(fit_map(read_map(path), box, pixel_size, path), 0, 1)
    place = np.rint(points[:, ::-1] / pixel_size).astype(int) + box // 2
    inside = mask[tuple(np.clip(place, 0, box - 1).T)] > 0.5
    if not inside.any():
        raise InputError(f"{path}: none of the {len(points)} Gaussians lies in this mask")
    return np.rint(_ONE * mask).astype(np.uint8)

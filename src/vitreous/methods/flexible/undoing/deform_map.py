"""Any map, deformed to a particle's state: density is carried along, its values kept."""

import logging
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.ndimage import map_coordinates

from vitreous.methods.flexible.deformation import Deformation
from vitreous.methods.flexible.undoing.inverse import invert
from vitreous.reconstruction.deformed import Support

logger = logging.getLogger(__name__)

# Share of a voxel to which the inverse is found.
_TOLERANCE = 1e-3


def deform_map(
    volume: Float[np.ndarray, "n n n"],
    support: Support,
    field: Any,
    z: Float[np.ndarray, " d"],
    inverse: Deformation | None = None,
) -> Float[np.ndarray, "n n n"]:
    """Bring a map of the consensus to the state of a latent.

    The value at `y` is that of the map at `x`, where `x + δ(x, z) = y`.

    **Arguments:** `support`: voxels that take part, in which motion fades at soft edges. `field`:
    displacements, Å. `inverse`: a network to ask in place of finding `x` exactly.

    **Returns:** the deformed map, by cubic interpolation; voxels that do not take part are kept.
    """
    points, latent = jnp.asarray(support.points), jnp.asarray(z, jnp.float32)[None]
    if inverse is not None:
        move = np.asarray(inverse(points, latent))[0]
    else:
        found = invert(field, points, latent, _TOLERANCE * support.voxel_size)
        move = np.asarray(found.points[0]) - support.points
        lost = int(np.sum(~np.asarray(found.converged)))
        if lost:
            # A field that folds space over has no inverse there; the nearest found is used.
            logger.warning("%d of %d voxels have no inverse", lost, len(move))
    origin = support.points + support.weight[:, None] * move
    place = origin[:, ::-1].T / support.voxel_size + support.box // 2
    flat = np.array(volume, np.float32).reshape(-1)
    flat[support.index] = map_coordinates(volume, place, order=3, mode="nearest")
    return flat.reshape(volume.shape)

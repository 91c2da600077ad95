"""The origin of a map brought to where its images have it: least shifts are needed about it.

A map from nothing is centred on its density, which need not be where the particles were centred.
Every voxel that it lies off widens the range of shifts to be tried, and time grows with its square.
"""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from vitreous.geometry.fourier import half_space, volume_from_half_space
from vitreous.methods.abinitio.halves import Halves
from vitreous.methods.abinitio.setting import Setting


def centred(setting: Setting, halves: Halves) -> Halves:
    """Move maps by whole voxels, and take poses and sums along, so that shifts are least.

    **Arguments:** `halves`: with poses of all images.

    **Returns:** the same halves if less than half a voxel is to be gained.
    """
    poses = halves.poses
    assert poses is not None
    rotation, shift = np.asarray(poses.rotation, np.float64), np.asarray(poses.shift)
    at = origin_of(rotation[:, 0], shift[:, 0])
    # On the axes of a point group there is no choice.
    x, y, z = np.round(setting.copies().mean(axis=0) @ at).astype(int).tolist()
    if not (x or y or z):
        return halves
    # The point there becomes the origin.
    off = rotation[..., :2, :] @ np.array([x, y, z])
    roll = (-z, -y, -x)
    moved = poses._replace(shift=(shift + off).astype(np.float32))
    sums = halves.sums
    if sums is not None:
        box = setting.box
        planes = volume_from_half_space(sums.numerator.reshape(-1, *sums.numerator.shape[-3:]), box)
        turned = half_space(jnp.roll(planes, roll, axis=(1, 2, 3)))
        sums = sums._replace(numerator=turned.reshape(sums.numerator.shape))
    reach = np.linalg.norm(moved.shift[:, 0], axis=-1)
    return replace(
        halves,
        volumes=jnp.roll(halves.volumes, roll, axis=(2, 3, 4)),
        poses=moved,
        sums=sums,
        edge=float(np.mean(reach > 0.9 * setting.reach)),
    )


def moved_upon(
    moving: Float[np.ndarray, "n n n"], fixed: Float[np.ndarray, "n n n"]
) -> Float[np.ndarray, "n n n"]:
    """Move a map by the whole voxels that lay it upon another one best."""
    product = np.fft.fftn(fixed) * np.conj(np.fft.fftn(moving))
    place = np.unravel_index(np.argmax(np.fft.ifftn(product).real), fixed.shape)
    return np.roll(moving, place, axis=(0, 1, 2))


def origin_of(
    rotation: Float[np.ndarray, "n 3 3"], shift: Float[np.ndarray, "n 2"]
) -> Float[np.ndarray, " 3"]:
    """Find the point about which images are shifted least: all of `t + (R x)` is smallest.

    **Returns:** `(x, y, z)` in the units of `shift`.
    """
    rows = rotation[:, :2].reshape(-1, 3)
    return -np.linalg.lstsq(rows, shift.reshape(-1), rcond=None)[0]

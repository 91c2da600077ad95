"""Radii and shells of a half space's voxels, worked out where they are needed.

A compiled function that is given them as a constant carries it, in several copies: at 256³ that is
ten times the map. From three axes they cost less time than reading them from memory. The barrier
keeps the compiler from making the constant after all.
"""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vitreous.geometry.fourier import half_plane_weights


def _squares(box: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the squared frequencies of a whole axis (FFT order) and of the half one, int32."""
    whole = np.rint(np.fft.fftfreq(box, 1 / box)).astype(np.int32)
    return whole**2, np.arange(box // 2 + 1, dtype=np.int32) ** 2


def voxel_radii(box: int) -> Float[Array, "n n h"]:
    """Return the distance of every voxel from the origin in cycles/box, rfft order."""
    whole, half = jax.lax.optimization_barrier(tuple(map(jnp.asarray, _squares(box))))
    square = whole[:, None, None] + whole[None, :, None] + half[None, None, :]
    return jnp.sqrt(square.astype(jnp.float32))


def voxel_shells(box: int) -> Int[Array, "n n h"]:
    """Return the rounded shell of every voxel.

    No radius lies so close to the border of two shells that float32 could miss it: squares are
    whole numbers, the borders' are a quarter off.
    """
    return jnp.rint(voxel_radii(box)).astype(jnp.int32)


@lru_cache(maxsize=8)
def shell_sizes(box: int, count: int) -> Float[np.ndarray, " count"]:
    """Count the voxels of the first shells of the whole space, mates included."""
    whole, half = _squares(box)
    weights = half_plane_weights(box)
    sizes = np.zeros(count)
    # Plane by plane: nothing of the size of the space is held.
    for square in whole:
        shell = np.rint(np.sqrt(square + whole[:, None] + half[None])).astype(np.int64)
        mates = np.broadcast_to(weights, shell.shape)
        found = np.bincount(shell.ravel(), mates.ravel(), minlength=count)
        sizes += found[:count]
    return sizes

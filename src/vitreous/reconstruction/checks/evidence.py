"""Which of two explanations of the images is better: the one whose half maps agree more."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from vitreous.reconstruction.backprojection import Geometry, Slices
from vitreous.reconstruction.consensus import consensus_volume
from vitreous.reconstruction.fsc import fsc_shells

# An explanation is called better from this many standard deviations on.
DECISIVE = 6.0
_BATCH = 256


def half_map_fsc(slices: Slices, geometry: Geometry) -> Float[np.ndarray, " shells"]:
    """Reconstruct half maps and correlate them, up to the last shell of the geometry."""
    made = consensus_volume(slices, geometry, _BATCH)
    return np.asarray(made.fsc)[: geometry.max_shell + 1]


def advantage(
    first: Float[np.ndarray, " shells"], second: Float[np.ndarray, " shells"], box: int
) -> float:
    """Say by how many standard deviations the first FSC curve lies above the second.

    Shells count by their voxels and by the signal that either curve has in them, which is the
    best weighting of a difference in signal.
    """
    voxels = np.bincount(fsc_shells(box).ravel(), minlength=len(first))[1 : len(first)]
    a, b = first[1:], second[1:]
    weight = voxels * np.maximum(np.maximum(a, b), 0)
    # A correlation of n independent pairs has variance (1 − f²)² / n.
    spread = ((1 - a * a) ** 2 + (1 - b * b) ** 2) / voxels
    noise = float(np.sqrt(np.sum(weight**2 * np.maximum(spread, 1e-6))))
    return float(np.sum(weight * (a - b)) / noise) if noise > 0 else 0.0


def shuffled(slices: Slices, seed: int = 0) -> Slices:
    """Give every image the pose of another one: what half maps agree on then is no signal.

    Images of one half map change places among themselves, so that halves stay halves.
    """
    order = np.arange(len(slices.pixels))
    rng = np.random.default_rng(seed)
    group = np.asarray(slices.group)
    for half in np.unique(group):
        mine = np.flatnonzero(group == half)
        order[mine] = rng.permutation(mine)
    return slices._replace(rotation=slices.rotation[order], shift=slices.shift[order])


def band(geometry: Geometry, slices: Slices, max_shell: int) -> tuple[Slices, Geometry]:
    """Leave out the shells beyond `max_shell`."""
    narrow = geometry._replace(max_shell=min(max_shell, geometry.max_shell))
    return slices._replace(pixels=slices.pixels[:, : len(narrow.pixels)]), narrow


def absolute_ctf(slices: Slices, transfer: jax.Array) -> Slices:
    """Turn the pixels where the CTF is negative.

    Backprojecting these with the CTF is backprojecting the true pixels with its absolute value.
    """
    sign = jnp.where(transfer < 0, -1.0, 1.0).astype(slices.pixels.dtype)
    return slices._replace(pixels=slices.pixels * sign)

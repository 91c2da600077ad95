"""Which of two explanations of the images is better: the one whose half maps agree more."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vitreous.reconstruction.backprojection import Geometry, Slices
from vitreous.reconstruction.consensus import consensus_volume
from vitreous.reconstruction.fsc import fsc_shells

# An explanation is called better from this many standard deviations on.
DECISIVE = 6.0
_BATCH = 256


class Explanation(NamedTuple):
    """Hold the half maps that come of a set of poses and signs.

    **Fields:** `fsc`: of the half maps, up to the last shell in use. `half_maps`. `box` of both.
    """

    fsc: Float[np.ndarray, " shells"]
    half_maps: Float[Array, "2 n n n"]
    box: int


def explain(slices: Slices, geometry: Geometry) -> Explanation:
    """Reconstruct half maps and correlate them, up to the last shell of the geometry."""
    made = consensus_volume(jax.tree.map(jnp.asarray, slices), geometry, _BATCH)
    fsc = np.asarray(made.fsc)[: geometry.max_shell + 1]
    return Explanation(fsc, made.half_maps, geometry.box)


def advantage(first: Explanation, second: Explanation) -> float:
    """Say by how many standard deviations the first curve lies above the second.

    Shells count by their voxels and by the signal that either curve has in them, which is the
    best weighting of a difference in signal.
    """
    a, b = first.fsc[1:], second.fsc[1:]
    voxels = np.bincount(fsc_shells(first.box).ravel(), minlength=len(a) + 1)[1 : len(a) + 1]
    weight = voxels * np.maximum(np.maximum(a, b), 0)
    # A correlation of n independent pairs has variance (1 − f²)² / n.
    spread = ((1 - a * a) ** 2 + (1 - b * b) ** 2) / voxels
    noise = float(np.sqrt(np.sum(weight**2 * np.maximum(spread, 1e-6))))
    return float(np.sum(weight * (a - b)) / noise) if noise > 0 else 0.0


def shuffled(slices: Slices, seed: int = 0) -> Slices:
    """Give every image the rotation of another one: what half maps agree on then is no signal.

    Images of one half map change places among themselves, so that halves stay halves. Shifts
    stay: they centre images whatever the rotations are worth.
    """
    order = np.arange(len(slices.pixels))
    rng = np.random.default_rng(seed)
    group = np.asarray(slices.group)
    for half in np.unique(group):
        mine = np.flatnonzero(group == half)
        order[mine] = rng.permutation(mine)
    return slices._replace(rotation=slices.rotation[order])


def band(geometry: Geometry, slices: Slices, max_shell: int) -> tuple[Slices, Geometry]:
    """Leave out the shells beyond `max_shell`."""
    narrow = geometry._replace(max_shell=min(max_shell, geometry.max_shell))
    return slices._replace(pixels=slices.pixels[:, : len(narrow.pixels)]), narrow

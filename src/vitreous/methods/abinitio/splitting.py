"""From one map to two half sets: each climbs on its own from the few shells that both share."""

import logging
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vitreous.methods.abinitio.halves import Halves
from vitreous.methods.abinitio.low_resolution import Estimate, Stage, climb
from vitreous.methods.abinitio.reference import low_passed
from vitreous.methods.abinitio.setting import Setting
from vitreous.methods.abinitio.verdict import SHARED_SHELL
from vitreous.reconstruction.volume_alignment import Alignment, align_volumes

logger = logging.getLogger(__name__)

# Shells of the grid's scores in all passes that follow.
GRID_SHELL = 8
# An alignment may be off the axes of a point group by so many degrees.
_CROSSED = 20.0
# How each half set climbs from what both share.
_CLIMB = (
    Stage(4, 4000, 0.4, 3),
    Stage(5, 4000, 0.5, 2),
    Stage(6, 4000, 0.6, 2),
    Stage(8, 4000, 0.8, 3),
)


def split(
    setting: Setting, best: Estimate, rows: tuple[Int[np.ndarray, " a"], Int[np.ndarray, " b"]]
) -> Halves:
    """Let both half sets climb from the first shells of a map, and lay their maps together.

    **Arguments:** `rows`: images of each half.
    """
    shared = low_passed(best.volumes, max(SHARED_SHELL, setting.shell(SHARED_SHELL)))
    parts = []
    for half, mine in enumerate(rows):
        first = Estimate(shared, best.noise)
        seed = (setting.seed, 3, half)
        parts.append(climb(setting, first, mine, _CLIMB, seed, f"half set {half + 1}"))
    fsc = np.zeros(setting.pixels.max_shell + 1)
    fsc[: setting.shell(GRID_SHELL) + 1] = 1
    noise = 0.5 * (parts[0].noise + parts[1].noise)
    second = _laid_upon(parts[1].volumes, parts[0].volumes, setting.copies())
    volumes = jnp.stack([parts[0].volumes, second])
    return Halves(volumes, noise, fsc)


def _laid_upon(
    moving: Float[Array, "k n n n"],
    fixed: Float[Array, "k n n n"],
    copies: Float[np.ndarray, "g 3 3"],
) -> Array:
    """Bring the maps of one half set into the frame of the other's.

    They drift apart while they climb, and may take either side of what is nearly symmetric; that
    turns maps, and shares none of their noise.
    """
    mean = [np.asarray(maps).mean(axis=0) for maps in (moving, fixed)]
    if not all(np.ptp(m) > 0 for m in mean):
        return moving
    found = along_axes(align_volumes(*mean, hands=(False,)), copies)
    if found is None:
        logger.info("half maps fit best with their axes crossed: each keeps its frame")
        return moving
    return jnp.stack([jnp.asarray(found.apply(np.asarray(m))) for m in moving])


def along_axes(found: Alignment, copies: Float[np.ndarray, "g 3 3"]) -> Alignment | None:
    """Change an alignment a little so that it brings the axes of a point group onto themselves.

    **Returns:** None if it is far from any that does.
    """
    if len(copies) == 1:
        return found
    rotation = found.rotation
    turned = rotation @ copies @ rotation.T
    trace = np.einsum("sij,gij->sg", turned, copies)
    if trace.max(axis=1).min() < 1 + 2 * np.cos(np.deg2rad(_CROSSED)):
        return None
    # What commutes with the group up to its order of copies is an average over the group.
    mean = np.mean(copies[trace.argmax(axis=1)] @ rotation @ copies.transpose(0, 2, 1), axis=0)
    left, _, right = np.linalg.svd(mean)
    straight = left @ np.diag([1.0, 1.0, np.linalg.det(left @ right)]) @ right
    return replace(found, rotation=straight, shift=copies.mean(axis=0) @ found.shift)

"""Tilt series: the order in which a particle's images were exposed, and which of them to use."""

import numpy as np
from jaxtyping import Bool, Float, Int


def tilt_rank(
    particle: Int[np.ndarray, " n"], exposure_order: Float[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
    """Rank the images of each particle by exposure.

    **Arguments:** `exposure_order`: any number that grows with exposure: the dose, or minus the
    CTF scale factor, which is largest for the untilted image that is taken first. Ties keep file
    order.

    **Returns:** 0 for the image taken first, 1 for the next, …
    """
    order = np.lexsort((np.arange(len(particle)), exposure_order, particle))
    sorted_particle = particle[order]
    starts = np.flatnonzero(np.r_[True, sorted_particle[1:] != sorted_particle[:-1]])
    sizes = np.diff(np.r_[starts, len(particle)])
    rank = np.empty(len(particle), np.int64)
    rank[order] = np.arange(len(particle)) - np.repeat(starts, sizes)
    return rank


def select_tilts(
    particle: Int[np.ndarray, " n"],
    rank: Int[np.ndarray, " n"],
    count: int,
    only_complete: bool = False,
) -> Bool[np.ndarray, " n"]:
    """Choose the first `count` images of each particle, in order of exposure.

    **Arguments:** `only_complete`: leave out particles that have fewer.
    """
    chosen = rank < count
    if only_complete:
        _, owner, size = np.unique(particle, return_inverse=True, return_counts=True)
        chosen &= size[owner] >= count
    return chosen


def dose_symmetric_weight(
    rank: Int[np.ndarray, " n"], angle_per_tilt: float
) -> Float[np.ndarray, " n"]:
    """Return `cos α` of each tilt for a dose-symmetric scheme, 0, +a, −a, +2a, … degrees.

    For series whose file has no scale factor: thicker ice at high tilt scatters less signal.
    """
    angle = angle_per_tilt * np.ceil(rank / 2)
    return np.cos(np.deg2rad(np.minimum(angle, 90))).astype(np.float32)

"""Tilt series: the order in which a particle's images were exposed, and how they faded."""

import dataclasses
import logging

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int64

from vitreous.errors import InputError
from vitreous.particles.order import Groups, group_images
from vitreous.particles.table import ParticleTable

logger = logging.getLogger(__name__)


def exposure_rank(table: ParticleTable) -> Int64[np.ndarray, " n"]:
    """Rank the images of each particle of a table by exposure, 0 for the first.

    Doses tell the order; without them the CTF scale factor, which is largest for the untilted
    image that is taken first; without either the order of the file.

    **Raises:** `InputError` if the table does not say which particle an image shows.
    """
    if table.particle is None:
        raise InputError(
            f"{table.path}: no tilt series: images do not say which particle they show"
        )
    order = np.zeros(len(table), np.float32)
    if table.dose is not None and np.ptp(table.dose) > 0:
        order = table.dose
    elif table.ctf is not None:
        order = -np.asarray(table.ctf.scale)
    return tilt_rank(table.particle, order)


def first_tilts(table: ParticleTable, count: int) -> ParticleTable:
    """Keep the first `count` images of each particle in order of exposure, or all it has."""
    if table.particle is None:
        return table
    return table.select(select_tilts(table.particle, exposure_rank(table), count))


def tilt_groups(table: ParticleTable) -> Groups | None:
    """Gather the images that show one particle, in order of exposure; None in single particles."""
    if table.particle is None:
        return None
    return group_images(table.particle, exposure_rank(table))


def check_tilts(
    table: ParticleTable, count: int | None = None, dose_per_tilt: float | None = None
) -> None:
    """Say before a fit what its tilt series lack.

    **Arguments:** `count`: how many tilts of each particle were asked for. `dose_per_tilt`: given
    in place of the doses of the file.

    **Raises:** `InputError` if no particle has as many tilts as were asked for.
    """
    if table.particle is None:
        return
    sizes = np.unique(table.particle, return_counts=True)[1]
    least, most = int(sizes.min()), int(sizes.max())
    if count is not None and most < count:
        raise InputError(
            f"{table.path}: no particle has {count} tilts, the most is {most}; lower --ntilts"
        )
    wanted = 2 if count is None else count
    fewer = int(np.sum(sizes < wanted))
    if fewer and most > 1:
        logger.warning(
            "%s: %d of %d particles have fewer than %d tilts (%d at least): they are fitted by "
            "those they have",
            *(table.path, fewer, len(sizes), wanted, least),
        )
    is_faded = table.dose is not None or (table.ctf is not None and np.any(table.ctf.bfactor))
    if not is_faded and dose_per_tilt is None:
        logger.warning(
            "%s: no doses (_rlnMicrographPreExposure or _rlnCtfBfactor): images are taken as not "
            "faded; give --dose-per-tilt",
            table.path,
        )


def weigh_tilts(
    table: ParticleTable, dose_per_tilt: float | None = None, angle_per_tilt: float = 3.0
) -> ParticleTable:
    """Say of each image of a tilt series how it faded: dose, and a scale for thicker ice.

    **Arguments:** `dose_per_tilt` (e/Å²): in place of the doses of the file. `angle_per_tilt`
    (degrees): step of a dose-symmetric scheme, used where the file has no scale factors.

    **Returns:** the table with `dose` where it is known or given, and then no B factor, which in
    the files of Warp and M says the same once more; a table of single particles as it is.
    """
    if table.particle is None:
        return table
    ctf, dose, rank = table.ctf, table.dose, exposure_rank(table)
    if dose_per_tilt is not None:
        dose = (rank * dose_per_tilt).astype(np.float32)
    if ctf is not None:
        if np.ptp(ctf.scale) < 1e-6:
            scale = dose_symmetric_weight(rank, angle_per_tilt)
            ctf = ctf._replace(scale=np.asarray(ctf.scale) * scale)
        if dose is not None:
            ctf = ctf._replace(bfactor=np.zeros_like(ctf.bfactor))
    # Not `table.replace`: what the table's file says is still true, and is written back.
    return dataclasses.replace(table, ctf=ctf, dose=dose)


def fading_dose(table: ParticleTable) -> Float32[np.ndarray, " n"] | None:
    """Return the doses that fade the images of a tilt series.

    None for single particles, and where B factors say already how the images faded.
    """
    if table.particle is None or table.dose is None or table.ctf is None:
        return None
    return None if np.any(table.ctf.bfactor) else table.dose


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

"""RELION 5 particles of tomograms, as far as one file tells: the images, not the tilt geometry."""

import logging
import os

import numpy as np

from vitreous.errors import InputError
from vitreous.particles.mrc import read_header
from vitreous.particles.paths import missing_stack, resolve_stacks
from vitreous.particles.relion import RelionParticles
from vitreous.particles.star import StarFile
from vitreous.particles.table import ParticleTable

logger = logging.getLogger(__name__)

_FLAG = "rlnTomoSubTomosAre2DStacks"
_VISIBLE = "rlnTomoVisibleFrames"


def is_tomo_table(star: StarFile) -> bool:
    """Say whether the rows are particles of tomograms, each with a file of its own."""
    return bool({"rlnTomoName", "rlnTomoParticleName"} & set(star.main.columns)) and (
        "rlnImageName" in star.main.columns and "@" not in star.main.text("rlnImageName")[0]
    )


def read_tomo_table(star: StarFile, datadir: str | os.PathLike | None) -> ParticleTable:
    """Read the images of 2-D stacks, one row an image.

    Pixel size, box, half set and particle are known; the pose and CTF of each tilt stand in the
    tilt-series files of the tomograms and are left unknown. `particle` counts the rows of the
    file, so a selection is written back as the rows whose images are selected.

    **Raises:** `InputError` for 3-D subtomograms, and where a stack does not hold the visible
    tilts.
    """
    general = star.find("general")
    is_2d = general is not None and _FLAG in general.columns and general.numbers(_FLAG)[0] == 1
    if not is_2d:
        raise InputError(
            f"{star.path}: its particles are 3-D subtomograms, which are not read; "
            "extract them again as 2-D stacks"
        )
    particles = RelionParticles(star)
    sizes, boxes = particles.pixel_size(), particles.box()
    if sizes is None or boxes is None:
        raise InputError(f"{star.path}: data_optics lacks _rlnImagePixelSize or _rlnImageSize")
    stacks = resolve_stacks(star.main.text("rlnImageName"), star.path, datadir)
    counts = _image_counts(star, stacks)
    particle = np.repeat(np.arange(len(particles)), counts)
    half_set = particles.half_set()
    logger.warning(
        "%s: poses and CTF of the tilts are not in this file (they are in its tomograms); "
        "give them with --poses and --ctf",
        star.path,
    )
    return ParticleTable(
        stacks=stacks,
        stack_id=particle.astype(np.int32),
        image_index=np.concatenate([np.arange(count) for count in counts]).astype(np.int64),
        box=boxes[particle],
        pixel_size=sizes[particle],
        rotation=None,
        shift=np.zeros((len(particle), 2), np.float32),
        ctf=None,
        optics_group=particles.optics_group[particle],
        half_set=None if half_set is None else half_set[particle],
        particle=particle,
        row=np.arange(len(particle)),
        source=star,
        path=star.path,
    )


def _image_counts(star: StarFile, stacks: tuple[str, ...]) -> list[int]:
    """Count the images of each particle: its visible tilts, which its stack must hold."""
    stored = [read_header(stack).shape[0] if os.path.isfile(stack) else None for stack in stacks]
    if _VISIBLE not in star.main.columns:
        for stack, count in zip(stacks, stored, strict=True):
            if count is None:
                raise InputError(missing_stack(stack, star.path))
        return [count for count in stored if count is not None]
    visible = [cell.count("1") for cell in star.main.text(_VISIBLE)]
    for row, (count, shown) in enumerate(zip(stored, visible, strict=True)):
        if count is not None and count != shown:
            raise InputError(
                f"{stacks[row]}: has {count} images, but row {row + 1} of {star.path} shows "
                f"{shown} tilts (_{_VISIBLE})"
            )
    return visible

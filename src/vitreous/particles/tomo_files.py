"""Find the files that belong to particles of tomograms: RELION's optimisation sets name them."""

import logging
import os
from pathlib import Path

from vitreous.errors import InputError
from vitreous.particles.paths import find_file
from vitreous.particles.star import StarFile, read_star

logger = logging.getLogger(__name__)

_PARTICLES, _TOMOGRAMS = "rlnTomoParticlesFile", "rlnTomoTomogramsFile"
_TRAJECTORIES = "rlnTomoTrajectoriesFile"


def particles_of_set(star: StarFile) -> Path | None:
    """Return the particle file that an optimisation set names, or None if `star` is no such set.

    **Raises:** `InputError` if that file is not found.
    """
    return _named(star, _PARTICLES)


def find_tomograms(
    particles: Path,
    given: str | os.PathLike | None = None,
    datadir: str | os.PathLike | None = None,
) -> Path | None:
    """Find the `tomograms.star` of a particle file.

    **Arguments:** `given`: that file, or an optimisation set that names it. By default an
    optimisation set beside the particles that names them, else a `tomograms.star` beside them.

    **Returns:** None, with a warning that names what was looked for, if nothing is there.

    **Raises:** `InputError` if a given file leads nowhere.
    """
    if given is not None:
        star = read_star(given)
        named = _named(star, _TOMOGRAMS)
        return Path(given) if named is None else named
    folder = particles.absolute().parent
    looked_for = []
    for path in sorted(folder.glob("*optimisation_set.star")):
        star = read_star(path)
        listed = _value(star, _PARTICLES)
        if listed is None or os.path.basename(listed) != particles.name:
            looked_for.append(f"{path} (of other particles)")
            continue
        tomograms = _value(star, _TOMOGRAMS)
        found = None if tomograms is None else find_file(tomograms, path, datadir)
        if found is not None:
            _warn_of_trajectories(star)
            return found
        looked_for.append(f"{tomograms} (named in {path})")
    beside = folder / "tomograms.star"
    if beside.is_file():
        return beside
    looked_for += [str(folder / "*optimisation_set.star"), str(beside)]
    logger.warning(
        "%s: poses and CTF of the tilts are not in this file but in its tomograms, which were not "
        "found (%s); give tomograms.star, or poses and CTF of every image",
        particles,
        ", ".join(looked_for),
    )
    return None


def _value(star: StarFile, column: str) -> str | None:
    for block in star.blocks:
        if column in block.columns and len(block):
            return block.text(column)[0]
    return None


def _named(star: StarFile, column: str) -> Path | None:
    name = _value(star, column)
    if name is None:
        return None
    found = find_file(name, star.path)
    if found is None:
        raise InputError(f"{name} (named in {star.path}): no such file in the folders above")
    _warn_of_trajectories(star)
    return found


def _warn_of_trajectories(star: StarFile) -> None:
    if _value(star, _TRAJECTORIES):
        logger.warning(
            "%s: motion of the particles from tilt to tilt is taken as corrected by their "
            "extraction (_%s)",
            star.path,
            _TRAJECTORIES,
        )

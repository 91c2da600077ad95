"""RELION 5 particles of tomograms as 2-D stacks: one row an image, with the pose of its tilt.

RELION cuts a particle from each tilt image where its coordinate projects to, so that point is the
centre of the image. The particle itself lies off it by its origin.
"""

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from vitreous.errors import InputError
from vitreous.geometry.rotations import euler_to_matrix
from vitreous.imaging.ctf import CTFParameters
from vitreous.mrc import read_header
from vitreous.particles.paths import missing_stack, resolve_stacks
from vitreous.particles.relion import EULER, ORIGIN, RelionParticles
from vitreous.particles.star import StarFile
from vitreous.particles.star_block import StarBlock
from vitreous.particles.table import ParticleTable
from vitreous.particles.tilt_series import TiltSeries, Tomograms
from vitreous.particles.tomo_files import find_tomograms

logger = logging.getLogger(__name__)

_FLAG = "rlnTomoSubTomosAre2DStacks"
_VISIBLE = "rlnTomoVisibleFrames"
_CENTRED = tuple(f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ")
_IN_PIXELS = tuple(f"rlnCoordinate{axis}" for axis in "XYZ")
_SUBTOMOGRAM = tuple(f"rlnTomoSubtomogram{angle}" for angle in ("Rot", "Tilt", "Psi"))
_ORIGIN = (*ORIGIN, "rlnOriginZAngst")


def is_tomo_table(star: StarFile) -> bool:
    """Say whether the rows are particles of tomograms, each with a file of its own."""
    return bool({"rlnTomoName", "rlnTomoParticleName"} & set(star.main.columns)) and (
        "rlnImageName" in star.main.columns and "@" not in star.main.text("rlnImageName")[0]
    )


def read_tomo_table(
    star: StarFile,
    datadir: str | os.PathLike | None = None,
    tomograms: str | os.PathLike | None = None,
    with_ctf: bool = True,
) -> ParticleTable:
    """Read 2-D stacks, one row an image: the tilts of each particle in the order of their dose.

    **Arguments:** `tomograms`: a `tomograms.star` or `optimisation_set.star`; by default what
    lies beside the particles. Without it poses and CTF stay unknown, which is logged.

    **Returns:** a table whose `particle` counts the rows of the file, so a selection is written
    back as the rows whose images are selected.

    **Raises:** `InputError` for 3-D subtomograms, where a stack does not hold the visible
    tilts, and where the tilt series do not fit the particles.
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
    half_set, ctf_applied = particles.half_set(), particles.ctf_applied()
    particle = np.repeat(np.arange(len(particles)), counts)
    image_index = np.concatenate([np.arange(count) for count in counts]).astype(np.int64)
    columns: dict[str, Any] = {
        "rotation": None,
        "shift": np.zeros((len(particle), 2), np.float32),
        "ctf": None,
        "dose": None,
    }
    series = _tilt_series(star, find_tomograms(star.path, tomograms, datadir), tomograms)
    if series is not None:
        columns, order = _tilt_columns(star, series, particle, image_index, with_ctf)
        particle, image_index = particle[order], image_index[order]
    return ParticleTable(
        stacks=stacks,
        stack_id=particle.astype(np.int32),
        image_index=image_index,
        box=boxes[particle],
        pixel_size=sizes[particle],
        optics_group=particles.optics_group[particle],
        half_set=None if half_set is None else half_set[particle],
        ctf_applied=None if ctf_applied is None else ctf_applied[particle],
        particle=particle,
        row=np.arange(len(particle)),
        source=star,
        path=Path(star.path),
        **columns,
    )


def particle_names(star: StarFile) -> list[str]:
    """Return the name of each particle: `rlnTomoParticleName`, else tomogram and row."""
    if "rlnTomoParticleName" in star.main.columns:
        return star.main.text("rlnTomoParticleName")
    return [f"{name}/{k}" for k, name in enumerate(star.main.text("rlnTomoName"), 1)]


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


def _tilt_series(
    star: StarFile, path: Path | None, given: str | os.PathLike | None
) -> dict[str, TiltSeries] | None:
    """Read the tilt series of every tomogram in use, by its name."""
    if path is None:
        return None
    if "rlnTomoName" not in star.main.columns:
        raise InputError(f"{star.path}: has no _rlnTomoName to find the tilt series by")
    names = star.main.text("rlnTomoName")
    distinct = list(dict.fromkeys(names))
    tomograms = Tomograms(path)
    lost = tomograms.missing_files(distinct)
    if lost and given is None:
        logger.warning(
            "%s: poses and CTF of the tilts are unknown: %s (named in %s) was not found",
            star.path,
            lost[0],
            path,
        )
        return None
    series = {}
    for name in distinct:
        found = tomograms.find(name)
        if found is None:
            raise InputError(
                f"{path}: has no tomogram {name} (row {names.index(name) + 1} of {star.path})"
            )
        series[name] = found
    return series


def _tilt_columns(
    star: StarFile,
    series: dict[str, TiltSeries],
    particle: Int64[np.ndarray, " n"],
    image_index: Int64[np.ndarray, " n"],
    with_ctf: bool,
) -> tuple[dict[str, Any], Int64[np.ndarray, " n"]]:
    """Look up pose, CTF and dose of every image; put each particle's in the order of the dose.

    **Returns:** the columns in that order, and the order.
    """
    names = np.array(star.main.text("rlnTomoName"), object)
    tilt = _tilt_of_image(star, names, series, particle, image_index)
    box_rotation, orientation, position, offset = _geometry(star, names, series)
    n = len(particle)
    rotation, shift = np.empty((n, 3, 3), np.float32), np.empty((n, 2), np.float32)
    dose, ctf = np.zeros(n), CTFParameters(*(np.empty(n) for _ in CTFParameters._fields))
    has_dose = all(one.dose is not None for one in series.values())
    has_ctf = with_ctf and all(one.ctf is not None for one in series.values())
    for name, one in series.items():
        rows = np.flatnonzero(names[particle] == name)
        which, owner = tilt[rows], particle[rows]
        turn = one.rotation[which]
        rotation[rows] = turn @ box_rotation[owner] @ orientation[owner]
        shift[rows] = np.einsum("nij,nj->ni", turn[:, :2], offset[owner])
        if one.dose is not None:
            dose[rows] = one.dose[which]
        if has_ctf and one.ctf is not None:
            for field, values in zip(ctf, one.ctf, strict=True):
                field[rows] = np.asarray(values)[which]
            depth = np.einsum("ni,ni->n", turn[:, 2], position[owner])
            ctf.defocus_u[rows] += one.hand * depth
            ctf.defocus_v[rows] += one.hand * depth
    order = np.lexsort((image_index, dose, particle))
    columns = {
        "rotation": rotation[order],
        "shift": shift[order],
        "dose": dose[order].astype(np.float32) if has_dose else None,
        "ctf": CTFParameters(*(f[order].astype(np.float32) for f in ctf)) if has_ctf else None,
    }
    return columns, order


def _tilt_of_image(
    star: StarFile,
    names: np.ndarray,
    series: dict[str, TiltSeries],
    particle: Int64[np.ndarray, " n"],
    image_index: Int64[np.ndarray, " n"],
) -> Int64[np.ndarray, " n"]:
    """Return which tilt of its series each image is: stacks hold the visible ones in order."""
    if _VISIBLE not in star.main.columns:
        for row, name in enumerate(names):
            held = int(np.sum(particle == row))
            if held != len(series[name]):
                raise InputError(
                    f"{star.path}: row {row + 1}: its stack has {held} images, the tilt series of "
                    f"{name} {len(series[name])} tilts, and no _{_VISIBLE} says which"
                )
        return image_index
    parts = []
    for row, (name, cell) in enumerate(zip(names, star.main.text(_VISIBLE), strict=True)):
        flags = cell.strip("[]").split(",")
        if len(flags) != len(series[name]):
            raise InputError(
                f"{star.path}: row {row + 1}: _{_VISIBLE} is of {len(flags)} tilts, the tilt "
                f"series of {name} has {len(series[name])}"
            )
        parts.append(np.flatnonzero(np.array(flags) == "1"))
    return np.concatenate(parts).astype(np.int64)


def _geometry(
    star: StarFile, names: np.ndarray, series: dict[str, TiltSeries]
) -> tuple[np.ndarray, ...]:
    """Return, in the tomogram's frame: rotation of the box, orientation in it, position, offset.

    The position (Å from the tomogram's centre) is that of the particle; the offset leads to it
    from the coordinate the images were cut out at: minus the origin, which is measured along the
    axes of the box.
    """
    main, count = star.main, len(star.main)
    unit = np.broadcast_to(np.eye(3), (count, 3, 3))
    subtomogram, angles, origin = (_together(main, c) for c in (_SUBTOMOGRAM, EULER, _ORIGIN))
    if angles is None:
        raise InputError(f"{star.path}: has no orientations ({', '.join('_' + a for a in EULER)})")
    box_rotation = unit if subtomogram is None else euler_to_matrix(subtomogram)
    coordinate = _together(main, _CENTRED)
    if coordinate is None:
        coordinate = _from_pixels(star, names, series)
    offset = np.zeros((count, 3))
    if origin is not None:
        offset = -np.einsum("pij,pj->pi", box_rotation, origin)
    return box_rotation, euler_to_matrix(angles), coordinate + offset, offset


def _from_pixels(
    star: StarFile, names: np.ndarray, series: dict[str, TiltSeries]
) -> Float64[np.ndarray, "p 3"]:
    """Turn unbinned pixel coordinates from the corner into Å from the centre."""
    coordinate = _together(star.main, _IN_PIXELS)
    if coordinate is None:
        raise InputError(f"{star.path}: has neither _{_CENTRED[0]} … nor _{_IN_PIXELS[0]} …")
    for name, one in series.items():
        if one.size is None or one.pixel_size is None:
            raise InputError(
                f"{star.path}: has coordinates in pixels, but tomogram {name} has no "
                "_rlnTomoSizeX, _rlnTomoSizeY, _rlnTomoSizeZ and _rlnTomoTiltSeriesPixelSize"
            )
        mine = names == name
        coordinate[mine] = (coordinate[mine] - np.array(one.size) // 2) * one.pixel_size
    return coordinate


def _together(block: StarBlock, names: tuple[str, ...]) -> Float64[np.ndarray, "p k"] | None:
    if not set(names) <= set(block.columns):
        return None
    columns = block.read(numbers=names)
    values = np.stack([columns[name] for name in names], axis=-1)
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, column = bad[0]
        raise InputError(f"{block.path}: row {row + 1}: {names[column]} is not a finite number")
    return values

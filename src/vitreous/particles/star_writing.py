"""Write particle tables as RELION STAR files."""

import logging
import os
from pathlib import Path

import numpy as np

from vitreous.errors import InputError
from vitreous.geometry.rotations import matrix_to_euler
from vitreous.particles.paths import leads_to
from vitreous.particles.relion import CTF, EULER, ORIGIN, ORIGIN_PIXELS, PREMULTIPLIED
from vitreous.particles.relion_tomo import is_tomo_table, particle_names
from vitreous.particles.star import StarFile
from vitreous.particles.star_block import StarBlock, make_block
from vitreous.particles.table import ParticleTable

logger = logging.getLogger(__name__)

_OPTICS_FIELDS = ("voltage", "spherical_aberration", "amplitude_contrast")
_IMAGE_COLUMNS = {"stacks", "stack_id", "image_index"}


def write_star(table: ParticleTable, path: str | os.PathLike, per_image: bool = False) -> None:
    """Write a table as its parent `.star` with these rows, or in the 3.1 layout without one."""
    if table.sign is not None:
        logger.warning(
            "%s: %d images are stored with inverted contrast (blob/sign -1), which a .star file "
            "cannot say: they will be read as dark particles",
            path,
            int(np.sum(table.sign < 0)),
        )
    parent = table.source
    is_tomo = isinstance(parent, StarFile) and is_tomo_table(parent)
    if per_image or (is_tomo and table.changed):
        star = _from_columns(table, Path(path))
    else:
        star = star_of(table, path)
    star.write(path)


def star_of(table: ParticleTable, path: str | os.PathLike) -> StarFile:
    """Return a table as it would stand in a `.star` file at `path`."""
    if isinstance(table.source, StarFile):
        return _from_parent(table, table.source, Path(path))
    return _from_columns(table, Path(path))


def _from_parent(table: ParticleTable, parent: StarFile, path: Path) -> StarFile:
    if is_tomo_table(parent) and table.particle is not None:
        rows = _in_order_of_first_use(table.particle)
        main = parent.main.take(rows)
        stacks = [table.stacks[row] for row in rows.tolist()]
        return parent.replace_blocks(main.replace_columns(findable_names(main, stacks, path)))
    main = parent.main.take(table.row)
    optics = parent.optics
    cells = _changed_cells(table, main, optics, path)
    if "rlnImageName" not in cells and "rlnImageName" in main.columns:
        stacks = [table.stacks[k] for k in table.stack_id.tolist()]
        cells |= findable_names(main, stacks, path)
    if optics is None:
        return parent.replace_blocks(main.replace_columns(cells))
    in_optics = {c: cells.pop(c) for c in list(cells) if c in optics.columns}
    if in_optics:
        optics = _with_group_values(optics, in_optics, table, parent)
    return parent.replace_blocks(optics, main.replace_columns(cells))


def findable_names(main: StarBlock, stacks: list[str], path: Path) -> dict[str, list[str]]:
    """Rename the stacks that a reader of the file at `path` would not find, if there are any.

    **Arguments:** `stacks`: of each row, absolute where it was found.
    """
    folder, names = path.absolute().parent, main.text("rlnImageName")
    pairs = [(cell[cell.rfind("@") + 1 :], s) for cell, s in zip(names, stacks, strict=True)]
    known = {
        (name, stack): _stack_name(stack, folder)
        for name, stack in set(pairs)
        if os.path.isabs(stack) and not leads_to(name, path, stack)
    }
    if not known:
        return {}
    cells = [
        cell[: len(cell) - len(pair[0])] + known.get(pair, pair[0])
        for cell, pair in zip(names, pairs, strict=True)
    ]
    return {} if cells == names else {"rlnImageName": cells}


def _in_order_of_first_use(values: np.ndarray) -> np.ndarray:
    distinct, first = np.unique(values, return_index=True)
    return distinct[np.argsort(first)]


def _with_group_values(
    optics: StarBlock, cells: dict[str, list[str]], table: ParticleTable, parent: StarFile
) -> StarBlock:
    """Put one value a group into the optics table."""
    columns = {}
    for name, values in cells.items():
        column = optics.text(name)
        for group in np.unique(table.optics_group).tolist():
            rows = np.flatnonzero(table.optics_group == group).tolist()
            distinct = {values[row] for row in rows}
            if len(distinct) > 1:
                raise InputError(
                    f"{parent.path}: optics group {group + 1} would need {len(distinct)} "
                    f"values of _{name}; write its particles to separate files"
                )
            column[group] = distinct.pop()
        columns[name] = column
    return optics.replace_columns(columns)


def _changed_cells(
    table: ParticleTable, main: StarBlock, optics: StarBlock | None, path: Path
) -> dict[str, list[str]]:
    changed, cells = table.changed, {}
    is_modern = optics is not None
    known = set(main.columns) | set(optics.columns if optics else ())
    if changed & _IMAGE_COLUMNS:
        cells["rlnImageName"] = _image_names(table, path)
    if "rotation" in changed and table.rotation is not None:
        cells |= _euler_cells(table.rotation)
    if changed & {"pixel_size", "box"}:
        cells |= _sampling_cells(table, main, known, is_modern)
    origins_in_pixels = ORIGIN_PIXELS[0] in main.columns
    if "shift" in changed or ("pixel_size" in changed and origins_in_pixels):
        cells |= _origin_cells(table, in_angstrom=is_modern or ORIGIN[0] in main.columns)
        if origins_in_pixels or not is_modern:
            cells |= _origin_cells(table, in_angstrom=False)
    if "ctf" in changed and table.ctf is not None:
        for field, (name, default) in CTF.items():
            values = np.asarray(getattr(table.ctf, field))
            if name in known or default is None or (values != default).any():
                cells[name] = _floats(values)
    if "ctf_applied" in changed and PREMULTIPLIED in known:
        cells[PREMULTIPLIED] = _flags(table)
    if "half_set" in changed and table.half_set is not None:
        cells["rlnRandomSubset"] = [str(k + 1) for k in table.half_set.tolist()]
    return cells


def _sampling_cells(
    table: ParticleTable, main: StarBlock, known: set[str], is_modern: bool
) -> dict[str, list[str]]:
    cells = {}
    if is_modern or "rlnImagePixelSize" in known:
        cells["rlnImagePixelSize"] = _floats(table.pixel_size)
    elif "rlnMagnification" in known:
        magnification = main.numbers("rlnMagnification")
        cells["rlnDetectorPixelSize"] = _floats(table.pixel_size * magnification / 1e4)
    else:
        cells["rlnMagnification"] = ["10000"] * len(table)
        cells["rlnDetectorPixelSize"] = _floats(table.pixel_size)
    if is_modern or "rlnImageSize" in known:
        cells["rlnImageSize"] = [str(side) for side in table.box.tolist()]
    return cells


def _euler_cells(rotation: np.ndarray) -> dict[str, list[str]]:
    angles = matrix_to_euler(rotation.astype(np.float64))
    return {name: [f"{a:.6f}" for a in angles[:, k].tolist()] for k, name in enumerate(EULER)}


def _origin_cells(table: ParticleTable, in_angstrom: bool) -> dict[str, list[str]]:
    origin = -table.shift.astype(np.float64) + 0.0
    if not in_angstrom:
        origin = origin / table.pixel_size[:, None]
    names = ORIGIN if in_angstrom else ORIGIN_PIXELS
    return {name: [f"{x:.6f}" for x in origin[:, k].tolist()] for k, name in enumerate(names)}


def _image_names(table: ParticleTable, path: Path) -> list[str]:
    """Name stacks below the file's own folder relative to it, others by their full path."""
    folder = path.absolute().parent
    names = [_stack_name(stack, folder) for stack in table.stacks]
    pairs = zip(table.image_index.tolist(), table.stack_id.tolist(), strict=True)
    return [f"{image + 1:06d}@{names[stack]}" for image, stack in pairs]


def _stack_name(stack: str, folder: Path) -> str:
    is_below = os.path.isabs(stack) and Path(stack).is_relative_to(folder)
    return os.path.relpath(stack, folder) if is_below else stack


def _group_names(table: ParticleTable, particle: np.ndarray) -> list[str]:
    """Name the particle of each image: as the parent does, else by its number."""
    parent = table.source
    if isinstance(parent, StarFile) and is_tomo_table(parent):
        names = particle_names(parent)
        return [names[k] for k in particle.tolist()]
    return [f"particle_{k:06d}" for k in particle.tolist()]


def _from_columns(table: ParticleTable, path: Path) -> StarFile:
    """Build a 3.1 file: one optics group for each combination of optics."""
    keys = [table.optics_group, table.box, table.pixel_size]
    if table.ctf_applied is not None:
        keys.append(table.ctf_applied)
    if table.ctf is not None:
        keys += [np.asarray(getattr(table.ctf, field)) for field in _OPTICS_FIELDS]
    _, first, group = np.unique(
        np.stack([np.asarray(k, np.float64) for k in keys], axis=1),
        axis=0,
        return_index=True,
        return_inverse=True,
    )
    group = group.reshape(-1)
    optics: dict[str, list[str]] = {
        "rlnOpticsGroup": [str(k + 1) for k in range(len(first))],
        "rlnOpticsGroupName": [f"opticsGroup{k + 1}" for k in range(len(first))],
        "rlnImagePixelSize": _floats(table.pixel_size[first]),
        "rlnImageSize": [str(side) for side in table.box[first].tolist()],
        "rlnImageDimensionality": ["2"] * len(first),
    }
    if table.ctf_applied is not None:
        optics[PREMULTIPLIED] = [_flags(table)[row] for row in first.tolist()]
    main = {"rlnImageName": _image_names(table, path)}
    main["rlnOpticsGroup"] = [str(k + 1) for k in group.tolist()]
    if table.rotation is not None:
        main |= _euler_cells(table.rotation) | _origin_cells(table, in_angstrom=True)
    if table.ctf is not None:
        for field, (name, _) in CTF.items():
            values = np.asarray(getattr(table.ctf, field))
            if field in _OPTICS_FIELDS:
                optics[name] = _floats(values[first])
            else:
                main[name] = _floats(values)
    if table.half_set is not None:
        main["rlnRandomSubset"] = [str(k + 1) for k in table.half_set.tolist()]
    if table.particle is not None:
        main["rlnGroupName"] = _group_names(table, table.particle)
    if table.dose is not None:
        main["rlnMicrographPreExposure"] = _floats(table.dose)
    blocks = make_block("optics", optics), make_block("particles", main)
    return StarFile(blocks, path)


def _flags(table: ParticleTable) -> list[str]:
    """Say of each image whether it is multiplied by its CTF."""
    if table.ctf_applied is None:
        return ["0"] * len(table)
    return ["1" if flag else "0" for flag in table.ctf_applied.tolist()]


def _floats(values: np.ndarray) -> list[str]:
    """Write each number with the fewest digits that give it back."""
    return np.asarray(values).astype(str).tolist()

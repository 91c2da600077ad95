"""Choose particles of a run by a rule, and take them back to the programs they came from."""

import dataclasses
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Int64

from vitreous.analysis.candidates import Candidates
from vitreous.analysis.selection_rules import evaluate_rule
from vitreous.analysis.selections import Selection
from vitreous.errors import InputError
from vitreous.files import atomic_path, write_text
from vitreous.particles import ParticleTable, read_particles, save_index_pickle

# Arguments of `read_particles` that leave rows out, or put other poses in.
_SELECTING = ("ind", "tilts", "tilted", "poses", "ctf")
TABLES, INDICES, LIST = (".star", ".cs"), (".pkl", ".npy", ".txt"), ".csv"


def choose(candidates: Candidates, rule: str, inverse: bool = False, name: str = "") -> Selection:
    """Choose particles by a rule (see `selection_rules`); all of them if it is empty.

    **Raises:** `InputError` if none is left, or the rule is not understood.
    """
    if rule:
        mask = evaluate_rule(rule, candidates)
    else:
        mask = np.ones(len(candidates), bool)
    if inverse:
        mask, rule = ~mask, f"not ({rule})" if rule else "not all"
    return _selection(candidates, mask, rule, name)


def others(candidates: Candidates, selection: Selection) -> Selection:
    """Choose the particles of the run that a selection leaves out.

    **Raises:** `InputError` if it leaves none out.
    """
    mask = ~np.isin(candidates.rows, selection.rows)
    return _selection(candidates, mask, f"not ({selection.rule})", selection.name)


def _selection(
    candidates: Candidates, mask: Bool[np.ndarray, " n"], rule: str, name: str
) -> Selection:
    if not mask.any():
        raise InputError(
            f"{rule}: chooses none of the {len(mask):,} particles of {candidates.path}"
        )
    of: Literal["images", "particles"]
    of = "particles" if candidates.of == "particles" else "images"
    rows = np.sort(candidates.rows[mask])
    return Selection(name, rows, of, rule, len(mask), str(candidates.particles))


def check_output(path: Path) -> None:
    """Refuse an output of no known kind, before any work.

    **Raises:** `InputError`.
    """
    if path.suffix.lower() not in (*TABLES, LIST, *INDICES):
        kinds = ", ".join((*TABLES, LIST, *INDICES))
        raise InputError(f"{path}: a selection is written as {kinds}")


def parent_table(
    candidates: Candidates, parent: str | os.PathLike | None = None, with_poses: bool = False
) -> ParticleTable:
    """Read the whole particle file that a selection's rows are of, as it is.

    **Arguments:** `parent`: another file of the same particles in the same order: the original
    of a downsampled set. `with_poses`: put in the poses that the run has, found, refined or given
    as a pickle; rows that the run did not use keep theirs, or the identity.

    **Raises:** `InputError` if the parent has other particles.
    """
    own: dict[str, Any] = {} if candidates.run is None else candidates.run.particle_arguments()
    path = candidates.particles
    is_whole = candidates.of == "images" and all(own.get(name) is None for name in _SELECTING)
    if parent is None and is_whole and not candidates.table.changed:
        return candidates.table
    names = ["datadir", "pixel_size", "box", "passthrough", "tomograms"]
    if path.suffix.lower() not in TABLES:
        # A bare stack says nothing: what the run was told goes into the table.
        names += ["poses", "ctf", "pose_unit"]
    arguments: dict[str, Any] = {k: own[k] for k in names if own.get(k) is not None}
    if candidates.datadir is not None:
        arguments["datadir"] = candidates.datadir
    table = _read_whole(path, arguments, own.get("ctf"))
    if parent is not None:
        child, table = table, read_particles(parent, datadir=candidates.datadir)
        _check_same_particles(table, child)
    return _with_poses_of(candidates, table) if with_poses else table


def _read_whole(path: Path, arguments: dict[str, Any], ctf: str | None) -> ParticleTable:
    """Read a particle file as it is, one whose CTF the run had from elsewhere too."""
    if ctf is None or path.suffix.lower() != ".star":
        return read_particles(path, **arguments)
    try:
        return read_particles(path, **arguments)
    except InputError:
        # Without the pickle the file may say too little of its CTF to be read.
        return dataclasses.replace(read_particles(path, **arguments, ctf=ctf), changed=frozenset())


def _with_poses_of(candidates: Candidates, table: ParticleTable) -> ParticleTable:
    known = candidates.table
    if known.rotation is None or candidates.of != "images":
        raise InputError(f"{candidates.path}: has no poses of images to put into the table")
    if table.rotation is None:
        rotation = np.tile(np.eye(3, dtype=np.float32), (len(table), 1, 1))
    else:
        rotation = table.rotation.copy()
    shift = table.shift.copy()
    rotation[known.row], shift[known.row] = known.rotation, known.shift
    return table.replace(rotation=rotation, shift=shift)


def _check_same_particles(table: ParticleTable, child: ParticleTable) -> None:
    if len(table) != len(child):
        raise InputError(
            f"{table.path}: has {len(table)} particles, {child.path} {len(child)}: not its parent"
        )
    if table.ctf is None or child.ctf is None:
        return
    one, two = (np.asarray(t.ctf.defocus_u, np.float64) for t in (table, child) if t.ctf)
    bad = np.flatnonzero(np.abs(one - two) > 1e-3 * np.abs(one) + 1)
    if bad.size:
        raise InputError(
            f"{table.path}: row {bad[0]} has another defocus than in {child.path} ({bad.size} rows "
            "in all): not the same particles in the same order"
        )


def write_selection(
    selection: Selection, path: str | os.PathLike, parent: ParticleTable | None
) -> int:
    """Write a selection: as a table with every column of its parent, or as an index.

    **Arguments:** `parent`: of all rows; needed for `.star` and `.cs`.

    **Returns:** the number of images, or of particles in an index.
    """
    path = Path(path)
    check_output(path)
    kind = path.suffix.lower()
    if kind in INDICES:
        write_index(path, selection.rows)
        return len(selection)
    if parent is None:
        raise ValueError("a table is written from its parent")
    rows = _images(selection, parent)
    table = parent.select(rows)
    table.to_cs(path) if kind == ".cs" else table.to_star(path)
    return len(table)


def _images(selection: Selection, parent: ParticleTable) -> Int64[np.ndarray, " m"]:
    if selection.of == "images" or parent.particle is None:
        if selection.rows.max(initial=0) >= len(parent):
            raise InputError(
                f"{parent.path}: has {len(parent)} rows; the selection asks for row "
                f"{selection.rows.max()} (counted from 0)"
            )
        return selection.rows
    return np.flatnonzero(np.isin(parent.particle, selection.rows))


def check_index_output(path: Path) -> None:
    """Refuse an index file of no known kind.

    **Raises:** `InputError`.
    """
    if path.suffix.lower() not in INDICES:
        raise InputError(f"{path}: rows are written as {', '.join(INDICES)}")


def write_index(path: Path, rows: Int64[np.ndarray, " k"]) -> None:
    """Write row numbers, counted from 0, in the format the suffix names."""
    if path.suffix == ".pkl":
        save_index_pickle(path, rows)
    elif path.suffix == ".npy":
        with atomic_path(path) as temporary:
            np.save(temporary, rows, allow_pickle=False)
    else:
        write_text(path, "".join(f"{row}\n" for row in rows.tolist()))

"""The particle table of a run as a folder of memory-mapped columns, made by a process of its own.

Parsing the table of a million particles takes more memory than all the rest of the dashboard, and
holds up every other thread; what is left of it here is read page by page.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float32, Shaped

from vitreous.analysis.candidates import Candidates
from vitreous.analysis.source_columns import source_table
from vitreous.dashboard.columns import MOST_CATEGORIES, Column
from vitreous.errors import InputError
from vitreous.files import write_text
from vitreous.geometry.rotations import matrix_to_euler
from vitreous.imaging.ctf import CTFParameters
from vitreous.particles.table import PER_PARTICLE, ParticleTable

_MANIFEST = "columns.json"
# Below this many images a process of its own would take longer to start than to read them.
LARGE = 50_000
_GROUPS = (
    (("Angle", "Origin", "pose", "shift"), "pose"),
    (("Defocus", "Ctf", "PhaseShift", "ctf/"), "ctf"),
    (("Class", "class"), "class"),
    (("LogLikeli", "MaxValueProb", "Significant", "error", "cross_cor"), "error"),
)


def read_apart(
    run: Path, datadir: Path | None, folder: Path, images: int
) -> tuple[ParticleTable, dict[Column, np.ndarray]]:
    """Read the table of a run into a folder, in a process of its own if it is large.

    **Arguments:** `images`: how many there are, as the run says.

    **Raises:** `InputError` if the particle file is gone, or does not fit the run.
    """
    if images < LARGE:
        write_table_files(candidates_of(run, datadir), folder)
        return open_table_files(folder)
    words = [sys.executable, "-m", "vitreous.dashboard.table_files", str(run), str(folder)]
    words += [] if datadir is None else [str(datadir)]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"{run}: its particles could not be read"]
        raise InputError(lines[-1])
    return open_table_files(folder)


def candidates_of(
    run: Path, datadir: Path | None, epoch: int | None = None, clusters: int | None = None
) -> Candidates:
    """Open the candidates of a run, its particle file looked for in `datadir` too."""
    candidates = Candidates(run, epoch, clusters, datadir)
    assert candidates.run is not None
    if datadir is not None:
        arguments = candidates.run.config.get("particles", {})
        moved = datadir / Path(str(arguments.get("path", ""))).name
        if not Path(str(arguments.get("path", ""))).is_file() and moved.is_file():
            arguments["path"] = str(moved)
        # In memory only: whatever reads the table of this run finds its stacks.
        arguments["datadir"] = str(datadir)
    return candidates


def write_table_files(candidates: Candidates, folder: Path) -> None:
    """Write every field of the table, and every column to colour by, as `.npy` files.

    **Raises:** `InputError` if the particle file is gone.
    """
    run = candidates.run
    if run is not None and "path" in run.config.get("particles", {}):
        path = run.particle_arguments()["path"]
        if not Path(path).exists():
            raise InputError(f"{path}: no such file; if it was moved, --datadir names its folder")
    table = candidates.table
    folder.mkdir(parents=True, exist_ok=True)
    for name in PER_PARTICLE:
        value = getattr(table, name)
        if isinstance(value, CTFParameters):
            for field, array in zip(CTFParameters._fields, value, strict=True):
                np.save(folder / f"ctf.{field}.npy", np.asarray(array))
        elif value is not None:
            np.save(folder / f"{name}.npy", value)
    columns: list[dict[str, Any]] = []

    def keep(name: str, label: str, group: str, unit: str, values: np.ndarray) -> None:
        stored, names = _stored(values, group == "class")
        if name == "stack":
            # Text of every particle would take more memory than all else.
            names = [table.stacks[int(number)] for number in names]
        if stored is not None:
            np.save(folder / f"column_{len(columns)}.npy", stored)
            about = {"name": name, "label": label, "group": group, "unit": unit, "names": names}
            columns.append(about)

    found = _physics(table)
    for name, (label, group, unit, values) in found.items():
        keep(name, label, group, unit, values)
    for name, values in source_table(table):
        if name in found:
            continue
        group = next((g for words, g in _GROUPS if any(w in name for w in words)), "file")
        keep(name, name, group, "", values)
    keep("stack", "stack", "class", "", table.stack_id)
    about = {"stacks": list(table.stacks), "path": str(table.path), "columns": columns}
    write_text(folder / _MANIFEST, json.dumps(about))


def open_table_files(folder: Path) -> tuple[ParticleTable, dict[Column, np.ndarray]]:
    """Map a folder of `write_table_files` into a table (without its parsed parent) and columns.

    The folder may then be removed: the system keeps what is mapped until the process ends.
    """
    about = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))

    def mapped(name: str) -> np.ndarray | None:
        file = folder / f"{name}.npy"
        return np.load(file, mmap_mode="r", allow_pickle=False) if file.is_file() else None

    found = [mapped(f"ctf.{field}") for field in CTFParameters._fields]
    ctf = [field for field in found if field is not None]
    fields: dict[str, Any] = {name: mapped(name) for name in PER_PARTICLE}
    fields["ctf"] = CTFParameters(*ctf) if len(ctf) == len(found) else None
    table = ParticleTable(**fields, stacks=tuple(about["stacks"]), path=Path(about["path"]))
    columns = {}
    for number, entry in enumerate(about["columns"]):
        column = Column(
            entry["name"], entry["label"], entry["group"],
            "category" if entry["names"] else "number", entry["unit"], tuple(entry["names"]),
        )  # fmt: skip
        values = mapped(f"column_{number}")
        assert values is not None
        columns[column] = values
    return table, columns


def _physics(table: ParticleTable) -> dict[str, tuple[str, str, str, np.ndarray]]:
    """List what every table tells in one unit, whatever program wrote it."""
    found = {}
    if table.ctf is not None:
        defocus = (np.asarray(table.ctf.defocus_u) + np.asarray(table.ctf.defocus_v)) / 2e4
        found["defocus"] = ("defocus", "ctf", "µm", defocus)
    if table.rotation is not None:
        for name, values in zip(("rot", "tilt", "psi"), _angles(table.rotation), strict=True):
            label = "in-plane angle: psi" if name == "psi" else f"view: {name}"
            found[name] = (label, "pose", "°", values)
    found["shift"] = ("shift", "pose", "Å", np.linalg.norm(table.shift, axis=1))
    if table.half_set is not None:
        found["half"] = ("half set", "class", "", table.half_set + 1)
    found["optics"] = ("optics group", "class", "", table.optics_group + 1)
    found["pixel_size"] = ("pixel size", "file", "Å", table.pixel_size)
    if table.dose is not None:
        found["dose"] = ("dose", "file", "e/Å²", table.dose)
    return found


def _angles(rotation: Float32[np.ndarray, "n 3 3"]) -> Float32[np.ndarray, "3 n"]:
    angles = np.empty((3, len(rotation)), np.float32)
    # Some at a time: what is in between takes several times the memory of the result.
    for start in range(0, len(rotation), LARGE):
        rows = slice(start, start + LARGE)
        angles[:, rows] = matrix_to_euler(rotation[rows].astype(np.float64)).T
    return angles


def _stored(
    values: Shaped[np.ndarray, " n"], is_label: bool
) -> tuple[np.ndarray | None, list[str]]:
    """Bring a column to float32, or to the codes of its categories; None if it tells nothing."""
    if values.dtype.kind in "OUS" or is_label:
        codes, distinct = pd.factorize(values, sort=True)
        if not 1 < len(distinct) <= MOST_CATEGORIES:
            return None, []
        names = [f"{v:g}" if isinstance(v, float) else str(v) for v in distinct.tolist()]
        return codes.astype(np.uint16), names
    if values.dtype.kind not in "fiub":
        return None, []
    numbers = values.astype(np.float32)
    known = numbers[np.isfinite(numbers)]
    return (numbers, []) if known.size and known.max() > known.min() else (None, [])


def main() -> None:
    """Read the table of a run for another process: RUN FOLDER [DATADIR]."""
    run, folder, *more = sys.argv[1:]
    try:
        write_table_files(candidates_of(Path(run), Path(more[0]) if more else None), Path(folder))
    except (InputError, OSError) as error:
        sys.exit(" ".join(str(error).split()))


if __name__ == "__main__":
    main()

"""Selections taken out of the dashboard: the particle file with their rows, an index, a table.

Writing a large `.star` file parses all of it; that happens in a process of its own, so that its
memory is given back.
"""

import csv
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int64

from vitreous.analysis.selecting import parent_table, write_selection
from vitreous.analysis.selections import Selection
from vitreous.dashboard.columns import ColumnStore
from vitreous.dashboard.table_files import LARGE, candidates_of
from vitreous.errors import InputError
from vitreous.files import atomic_path

SUFFIXES = {"star": ".star", "cs": ".cs", "index": ".txt", "csv": ".csv"}


def export_rows(
    run: Path, datadir: Path | None, rows: Int64[np.ndarray, " k"], path: Path, images: int
) -> None:
    """Write rows of the particle file of a run: `.star`, `.cs`, or an index.

    **Arguments:** `images`: of the run; many are written by another process.

    **Raises:** `InputError` if the particle file is gone, or is of another program.
    """
    if images < LARGE or path.suffix == ".txt":
        _export(run, datadir, rows, path)
        return
    with tempfile.TemporaryDirectory(prefix="vitreous-dashboard-") as folder:
        file = Path(folder) / "rows.npy"
        np.save(file, rows)
        words = [sys.executable, "-m", "vitreous.dashboard.exporting", str(run), str(file)]
        words += [str(path)] + ([] if datadir is None else [str(datadir)])
        done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode != 0:
        raise InputError((done.stderr.strip().splitlines() or [f"{path}: not written"])[-1])


def export_csv(
    store: ColumnStore,
    rows: Int64[np.ndarray, " n"],
    mask: Bool[np.ndarray, " n"],
    path: Path,
) -> None:
    """Write every column of the selected particles as text, a line a particle."""
    chosen = np.flatnonzero(mask)
    heads, columns = ["row"], [rows[chosen].tolist()]
    for column in store.columns():
        values = store.values(column.name)[chosen]
        heads.append(column.name)
        if column.kind == "category":
            columns.append([column.names[code] for code in values.tolist()])
        else:
            columns.append([f"{value:.7g}" for value in values.tolist()])
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(heads)
        writer.writerows(zip(*columns, strict=True))


def _export(run: Path, datadir: Path | None, rows: Int64[np.ndarray, " k"], path: Path) -> None:
    candidates = candidates_of(run, datadir)
    of: Literal["images", "particles"]
    of = "particles" if candidates.of == "particles" else "images"
    selection = Selection(path.stem, np.sort(rows), of)
    parent = None if path.suffix == ".txt" else parent_table(candidates)
    write_selection(selection, path, parent)


def main() -> None:
    """Write rows for another process: RUN ROWS.npy OUTPUT [DATADIR]."""
    run, rows, path, *more = sys.argv[1:]
    try:
        _export(Path(run), Path(more[0]) if more else None, np.load(rows), Path(path))
    except (InputError, OSError) as error:
        sys.exit(" ".join(str(error).split()))


if __name__ == "__main__":
    main()

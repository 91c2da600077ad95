"""Selections taken out of the dashboard: the particle file with their rows, an index, a table.

Writing a large `.star` file parses all of it; that happens in a process of its own, so that its
memory is given back.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Int64

from vitreous.analysis.selecting import LIST, parent_table, write_selection
from vitreous.analysis.selection_csv import write_csv
from vitreous.analysis.selections import Selection
from vitreous.dashboard.table_files import LARGE, candidates_of
from vitreous.errors import InputError

SUFFIXES = {"star": ".star", "cs": ".cs", "index": ".txt", "csv": ".csv"}


def export_rows(
    run: Path,
    datadir: Path | None,
    rows: Int64[np.ndarray, " k"],
    path: Path,
    images: int,
    epoch: int | None = None,
    clusters: int | None = None,
) -> None:
    """Write rows of the particle file of a run: `.star`, `.cs`, an index, or a list of columns.

    **Arguments:** `images`: of the run; many are written by another process. `epoch`, `clusters`:
    of latents and labels that a list shows.

    **Raises:** `InputError` if the particle file is gone, or is of another program.
    """
    if images < LARGE or path.suffix == ".txt":
        _export(run, datadir, rows, path, epoch, clusters)
        return
    with tempfile.TemporaryDirectory(prefix="vitreous-dashboard-") as folder:
        file = Path(folder) / "rows.npy"
        np.save(file, rows)
        words = [sys.executable, "-m", "vitreous.dashboard.exporting", str(run), str(file)]
        words += [str(path)] + ["" if v is None else str(v) for v in (datadir, epoch, clusters)]
        done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode != 0:
        raise InputError((done.stderr.strip().splitlines() or [f"{path}: not written"])[-1])


def _export(
    run: Path,
    datadir: Path | None,
    rows: Int64[np.ndarray, " k"],
    path: Path,
    epoch: int | None,
    clusters: int | None,
) -> None:
    candidates = candidates_of(run, datadir, epoch, clusters)
    of: Literal["images", "particles"]
    of = "particles" if candidates.of == "particles" else "images"
    selection = Selection(path.stem, np.sort(rows), of)
    if path.suffix == LIST:
        write_csv(selection, path, candidates)
        return
    parent = None if path.suffix == ".txt" else parent_table(candidates)
    write_selection(selection, path, parent)


def main() -> None:
    """Write rows for another process: RUN ROWS.npy OUTPUT DATADIR EPOCH CLUSTERS, each or ''."""
    run, rows, path, datadir, *numbers = sys.argv[1:]
    epoch, clusters = (int(word) if word else None for word in numbers)
    moved = Path(datadir) if datadir else None
    try:
        _export(Path(run), moved, np.load(rows), Path(path), epoch, clusters)
    except (InputError, OSError) as error:
        sys.exit(" ".join(str(error).split()))


if __name__ == "__main__":
    main()

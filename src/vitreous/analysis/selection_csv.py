"""A selection as a table of text: everything known of its particles, a line each."""

import csv
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from vitreous.analysis.candidates import OF_TABLE, Candidates
from vitreous.analysis.selections import Selection
from vitreous.analysis.source_columns import source_table
from vitreous.errors import InputError
from vitreous.files import atomic_path

logger = logging.getLogger(__name__)

# Above this many particles the outlier score takes minutes.
_SCORED = 50_000
# Lines put into words at a time.
_LINES = 1 << 14


def write_csv(selection: Selection, path: Path, candidates: Candidates) -> int:
    """Write every column that rules can ask for: of the run, of the table, of the particle file.

    Left out are names of images and fields of them that a table has no value for, and above
    50,000 particles the outlier score. If the particle file is gone the columns of the run are
    written, and a warning says so.

    **Returns:** the number of particles.
    """
    mask = np.isin(candidates.rows, selection.rows)
    columns = {"row": candidates.rows[mask]}
    for name, values in _columns(candidates):
        columns.setdefault(name, values[mask])
    words = [_wording(values) for values in columns.values()]
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for start in range(0, len(columns["row"]), _LINES):
            rows = slice(start, start + _LINES)
            cells = [say(v[rows]) for say, v in zip(words, columns.values(), strict=True)]
            writer.writerows(zip(*cells, strict=True))
    return int(mask.sum())


def _columns(candidates: Candidates) -> Iterator[tuple[str, Shaped[np.ndarray, " n"]]]:
    names = [] if candidates.of_run is None else candidates.of_run.names()
    try:
        table = candidates.table
    except InputError as error:
        if candidates.of_run is None:
            raise
        logger.warning("only what the run itself knows is written: %s", error)
        table = None
    else:
        names += OF_TABLE
    for name in names:
        if name == "outlier" and len(candidates) > _SCORED:
            continue
        try:
            yield name, candidates.column(name)
        except InputError:
            # A table need not say everything, nor a run have every analysis.
            continue
    if table is not None:
        yield from source_table(table)


def _wording(values: np.ndarray) -> Callable[[np.ndarray], list]:
    if values.dtype.kind == "f":
        return lambda part: [f"{value:.7g}" for value in part.tolist()]
    return lambda part: part.tolist()

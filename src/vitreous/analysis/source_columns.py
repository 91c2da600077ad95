"""Columns of a particle file under their own names, one value a row of the table."""

import re
from collections.abc import Iterator

import numpy as np
from jaxtyping import Shaped

from vitreous.errors import InputError
from vitreous.particles.cryosparc import CsData
from vitreous.particles.relion_tomo import is_tomo_table
from vitreous.particles.star import StarFile
from vitreous.particles.star_block import StarBlock
from vitreous.particles.table import ParticleTable

_IMAGE_NAME = re.compile("Image.*Name")
_TOGETHER = 8


def source_names(table: ParticleTable) -> list[str]:
    """List the columns of the file a table came from."""
    source = table.source
    if isinstance(source, StarFile):
        own = list(source.main.columns) + list(source.optics.columns if source.optics else ())
    else:
        own = list(source.table.dtype.names or ()) if isinstance(source, CsData) else []
    return list(dict.fromkeys(own))


def source_column(table: ParticleTable, name: str) -> Shaped[np.ndarray, " n"] | None:
    """Look a column up in the file a table came from; None if it has none of that name.

    Of a field of several numbers (cryoSPARC) one is asked for: `alignments3D/shift[0]`.

    **Raises:** `InputError` if the number is missing.
    """
    source = table.source
    if isinstance(source, CsData):
        field, _, place = name.partition("[")
        values = source.column(field)
        if values is None:
            return None
        values = values[table.row]
        if values.ndim > 1:
            if not place.rstrip("]").isdigit() or int(place.rstrip("]")) >= values.shape[1]:
                raise InputError(f"{field} holds {values.shape[1]} numbers: ask for {field}[0]")
            values = values[:, int(place.rstrip("]"))]
        return values.astype(str) if values.dtype.kind == "S" else values
    if not isinstance(source, StarFile):
        return None
    if name in source.main.columns:
        return _star_column(source.main, name)[star_rows(table)]
    if source.optics is not None and name in source.optics.columns:
        return _star_column(source.optics, name)[table.optics_group]
    return None


def _star_column(block: StarBlock, name: str) -> Shaped[np.ndarray, " n"]:
    first = block.head()
    if numbers_or_text(first.text(name)).dtype.kind == "f":
        try:
            return block.numbers(name)
        except InputError:
            pass  # What begins as numbers goes on as text.
    return numbers_or_text(block.text(name))


def star_rows(table: ParticleTable) -> np.ndarray:
    """Return the row of the `.star` file's main table that each row of a table stands for."""
    assert isinstance(table.source, StarFile)
    rows = table.particle if is_tomo_table(table.source) else table.row
    assert rows is not None
    return rows


def numbers_or_text(cells: list[str]) -> Shaped[np.ndarray, " n"]:
    """Read cells as numbers if all of them are, else as text."""
    try:
        return np.fromiter(map(float, cells), np.float64, len(cells))
    except ValueError:
        return np.array(cells)


def source_table(table: ParticleTable) -> Iterator[tuple[str, Shaped[np.ndarray, " n"]]]:
    """Yield every column of numbers, and those of text, of the file a table came from.

    Fields of several numbers come one by
    one, `alignments3D/shift[0]`; image names and identifiers are left out.
    """
    source = table.source
    if isinstance(source, CsData):
        for name in source_names(table):
            values = source.column(name)
            assert values is not None
            if name == "uid" or name.endswith("/path") or values.ndim > 2:
                continue
            size = values.shape[1] if values.ndim == 2 else 0
            for field in [f"{name}[{k}]" for k in range(size)] if size else [name]:
                found = source_column(table, field)
                assert found is not None
                yield field, found
    elif isinstance(source, StarFile):
        yield from _star_table(source.main, star_rows(table))


def _star_table(main: StarBlock, rows: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    first = main.head()
    kinds = {name: numbers_or_text(first.text(name)).dtype.kind for name in main.columns}
    numbers = [c for c in main.columns if kinds[c] in "fiu"]
    # Names of images are all different: a million of them, and nothing to colour by.
    text = [c for c in main.columns if kinds[c] not in "fiu" and not _IMAGE_NAME.search(c)]
    # A few at a time: all at once take more memory than the file itself.
    for start in range(0, len(numbers), _TOGETHER):
        names = numbers[start : start + _TOGETHER]
        try:
            read = main.read(numbers=names)
        except InputError:
            # What begins as numbers goes on as text.
            read = {name: numbers_or_text(main.text(name)) for name in names}
        for name, values in read.items():
            yield name, values[rows]
    for name in text:
        # One object a word, not a wide array: names of micrographs come back many times.
        yield name, np.array(main.text(name), object)[rows]

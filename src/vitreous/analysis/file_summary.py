"""What a file holds, in lines of name and value: maps, stacks, particle tables, arrays."""

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from vitreous.errors import InputError
from vitreous.mrc import read_header
from vitreous.particles.cryosparc import load_cs
from vitreous.particles.pickles import load_pickles
from vitreous.particles.star import read_star
from vitreous.particles.star_block import StarBlock

Lines = list[tuple[str, str]]


def summarise(path: str | os.PathLike) -> Lines:
    """Describe a file: an MRC header, the columns of a `.star` or `.cs`, the arrays of a pickle.

    **Raises:** `InputError` if the file is of no known kind, or broken.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if kind in (".mrc", ".mrcs", ".map", ".st"):
        return _header(path)
    if kind == ".star":
        return [line for block in read_star(path).blocks for line in _block(block)]
    if kind == ".cs":
        return _fields(load_cs(path))
    if kind == ".txt":
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        return [
            ("lines", f"{len(lines):,}"),
            *((f"line {k}", s) for k, s in enumerate(lines[:5], 1)),
        ]
    if kind in (".npy", ".npz"):
        return _arrays(path)
    if kind == ".pkl":
        return _pickled(load_pickles(path))
    raise InputError(f"{path}: view knows .mrc, .mrcs, .star, .cs, .txt, .npy, .npz and .pkl")


def _header(path: Path) -> Lines:
    header = read_header(path)
    nz, ny, nx = header.shape
    is_volume = nx == ny == nz
    return [
        ("kind", "volume" if is_volume else "stack of images"),
        ("sections, rows, columns", f"{nz:,} × {ny:,} × {nx:,}"),
        (
            "type",
            f"{header.dtype.name}, {'big' if header.dtype.byteorder == '>' else 'little'} endian",
        ),
        ("Å per pixel (x, y, z)", "  ".join(f"{s:.6g}" for s in header.voxel_size)),
        ("origin (x, y, z), Å", "  ".join(f"{s:.6g}" for s in header.origin)),
        ("axes (column, row, section)", " ".join("?xyz"[a] for a in header.axes)),
        ("size of the file", f"{path.stat().st_size / 2**20:,.1f} MiB"),
    ]


def _block(block: StarBlock) -> Lines:
    lines = [(f"data_{block.name}", f"{len(block):,} rows, {len(block.columns)} columns")]
    for name in block.columns:
        cells = block.text(name)
        lines.append((f"  _{name}", _range(cells)))
    return lines


def _fields(table: np.ndarray) -> Lines:
    lines = [("rows", f"{len(table):,}")]
    for name in table.dtype.names or ():
        lines.append((name, _values(table[name])))
    return lines


def _range(cells: list[str]) -> str:
    try:
        return _values(np.array(cells, np.float64))
    except ValueError:
        return _values(np.array(cells))


def _values(values: np.ndarray) -> str:
    """Give the range of numbers, or the number of different words and the first."""
    if values.size == 0:
        return "no values"
    if values.dtype.kind in "SUO":
        first = values.flat[0]
        first = first.decode(errors="replace") if isinstance(first, bytes) else str(first)
        count = len(np.unique(values))
        return first if count == 1 else f"{count:,} different, first {first}"
    shape = "" if values.ndim == 1 else f" ({'×'.join(map(str, values.shape[1:]))} each)"
    if values.dtype.kind == "f" and np.isnan(values).all():
        return f"nan{shape}"
    low, high = np.nanmin(values), np.nanmax(values)
    text = f"{low:.7g}" if low == high else f"{low:.7g} to {high:.7g}"
    missing = int(np.isnan(values).sum()) if values.dtype.kind == "f" else 0
    return text + shape + (f", {missing:,} nan" if missing else "")


def _arrays(path: Path) -> Lines:
    try:
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return [_array("array", content)]
        with content:
            return [_array(name, content[name]) for name in content.files]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: no arrays of numbers ({str(error).splitlines()[0]})") from None


def _array(name: str, values: np.ndarray) -> tuple[str, str]:
    shape = "×".join(map(str, values.shape)) or "one"
    numbers = f", {_values(values.reshape(-1))}" if values.dtype.kind in "fiub" else ""
    return name, f"{values.dtype.name} {shape}{numbers}"


def _pickled(contents: list[Any]) -> Lines:
    lines: Lines = []

    def describe(name: str, thing: Any) -> None:
        if isinstance(thing, np.ndarray):
            lines.append(_array(name, thing))
        elif isinstance(thing, tuple | list):
            lines.append((name, f"{type(thing).__name__} of {len(thing)}"))
            for k, part in enumerate(thing[:10]):
                describe(f"{name}[{k}]", part)
        elif isinstance(thing, dict):
            for key, part in list(thing.items())[:20]:
                describe(f"{name}[{key!r}]", part)
        else:
            lines.append((name, repr(thing)))

    for k, content in enumerate(contents, 1):
        describe(f"pickle {k}" if len(contents) > 1 else "pickle", content)
    return lines

"""Imaging models as JSON: readable, versioned, and harmless to load.

A module is written as its class's name and its fields. Names are looked up in one table of known
classes and nothing else is ever imported or run. Large arrays stand in files beside the JSON.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from vitreous.errors import InputError
from vitreous.files import atomic_path, write_text
from vitreous.imaging.serialisation.reader import Reader
from vitreous.imaging.serialisation.writer import Writer
from vitreous.maps import write_map

FORMAT = "vitreous imaging"
VERSION = 1


def _document(model: Any, writer: Writer) -> str:
    body = {"format": FORMAT, "version": VERSION, "model": writer.encode(model, "model")}
    return json.dumps(body, indent=1, allow_nan=False) + "\n"


def _parse(text: str, where: str, folder: Path | None) -> Any:
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not JSON ({error})") from error
    if not isinstance(body, dict) or body.get("format") != FORMAT or "model" not in body:
        raise InputError(f"{where}: not a model of vitreous: its format is not {FORMAT!r}")
    version = body.get("version")
    if not isinstance(version, int) or version > VERSION:
        raise InputError(
            f"{where}: written by a newer vitreous (format {version}, this one reads up to "
            f"{VERSION}); update vitreous"
        )
    return Reader(where, folder).decode(body["model"])


def to_json(model: Any) -> str:
    """Write an imaging module, or a tuple, list or dictionary of them, as JSON.

    All arrays are written out: for models with volumes `dump` is better.

    **Raises:** `InputError` if something in it has no JSON form, such as a Python function.
    """
    return _document(model, Writer(None))


def from_json(text: str) -> Any:
    """Read what `to_json` wrote.

    **Raises:** `InputError` if the text is damaged, newer than this version, or names a class that
    is not one of ours.
    """
    return _parse(text, "JSON", None)


def dump(model: Any, path: str | os.PathLike, maps: bool = False) -> None:
    """Write a model to a JSON file, arrays of more than 64 numbers to an `.npz` beside it.

    **Arguments:** `maps`: write the densities of voxel volumes as `.mrc` files, float32, instead.
    """
    path = Path(path)
    writer = Writer(path.stem, maps)
    text = _document(model, writer)
    # Arrays first: a reader that finds the JSON finds them too.
    for name, (density, voxel_size) in writer.maps.items():
        write_map(path.with_name(name), density, voxel_size)
    if writer.arrays:
        with atomic_path(path.with_name(f"{path.stem}.npz")) as temporary:
            np.savez(temporary, **writer.arrays)  # type: ignore[arg-type]
    write_text(path, text)


def load(path: str | os.PathLike) -> Any:
    """Read a model that `dump` wrote.

    An array may also be put in by hand, as a map beside the JSON:
    `{"dtype": "float32", "shape": [64, 64, 64], "file": "map.mrc"}`.

    **Raises:** `InputError` as `from_json`, or if a file of arrays is missing.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    return _parse(path.read_text(encoding="utf-8"), str(path), path.parent)

"""Selections with names, kept in a run (`selections/NAME.json`), in the numbers of its input.

Rows are those of the particle file (of tilt series: its particles), whatever selection the run
was made with, so that chains of selections and runs all speak of one file.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Int64

from vitreous.errors import InputError
from vitreous.files import write_text

_FOLDER = "selections"
_NAME = re.compile(r"[\w][\w.+ -]*")


@dataclass(frozen=True)
class Selection:
    """Hold some particles of a run.

    `rows`: of the particle file, ascending. `of`: whether these count images or, for tilt series,
    particles. `rule`: what chose them, see `selection_rules`; empty for a hand-drawn one.
    `total`: of how many they were chosen. `particles`: the file the rows are of.
    """

    name: str
    rows: Int64[np.ndarray, " k"]
    of: Literal["images", "particles"] = "images"
    rule: str = ""
    total: int = 0
    particles: str = ""

    def __len__(self) -> int:
        return len(self.rows)


def save_selection(folder: Path, selection: Selection) -> Path:
    """Write a selection into a run folder, in place of an older one of that name.

    **Raises:** `InputError` if the name cannot be that of a file.
    """
    path = selection_path(folder, selection.name)
    content = {
        "name": selection.name,
        "rule": selection.rule,
        "particles": selection.particles,
        "of": selection.of,
        "count": len(selection),
        "total": selection.total,
        "rows": selection.rows.tolist(),
    }
    write_text(path, json.dumps(content) + "\n")
    return path


def load_selection(folder: Path, name: str) -> Selection:
    """Read a selection of a run folder.

    **Raises:** `InputError` if there is none of that name, naming those there are.
    """
    path = selection_path(folder, name)
    if not path.is_file():
        has = ", ".join(saved_selections(folder)) or "none"
        raise InputError(f"{folder}: no selection named {name!r} (saved: {has})")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Selection(
            str(content["name"]),
            np.asarray(content["rows"], np.int64).reshape(-1),
            "particles" if content.get("of") == "particles" else "images",
            str(content.get("rule", "")),
            int(content.get("total", 0)),
            str(content.get("particles", "")),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a saved selection ({error})") from None


def saved_selections(folder: Path) -> list[str]:
    """List the names of the selections of a run folder, in alphabetical order."""
    return sorted(path.stem for path in (folder / _FOLDER).glob("*.json"))


def delete_selection(folder: Path, name: str) -> None:
    """Remove a selection of a run folder.

    **Raises:** `InputError` if there is none of that name.
    """
    path = selection_path(folder, name)
    if not path.is_file():
        raise InputError(f"{folder}: no selection named {name!r}")
    path.unlink()


def selection_path(folder: Path, name: str) -> Path:
    """Say where a selection of this name lies.

    **Raises:** `InputError` if the name cannot be that of a file.
    """
    if not _NAME.fullmatch(name) or name.endswith("."):
        raise InputError(f"selection {name!r}: a name has letters, digits, spaces and . _ + -")
    return folder / _FOLDER / f"{name}.json"

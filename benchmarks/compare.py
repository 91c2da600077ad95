"""Figures of a benchmark beside those recorded last on the same kind of machine."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Where a larger number is better; of all other times and sizes a smaller one is.
_MORE = re.compile(r"/s\b|per_second|rate|within|accuracy|auc|share|same bits|flops", re.IGNORECASE)
_LESS = re.compile(
    r"second|\bs\b|_s\b|\bms\b|mib|gib|memory|peak|median|error|°|Å|unreadable|time", re.IGNORECASE
)
_ABOUT = {"machine", "packages", "cpu", "cores", "device", "python", "commit", "trials", "seed"}


def kind(content: dict[str, Any]) -> tuple[str, str, str]:
    """Say on what kind of machine a result was made: processor, cores, device."""
    about = content.get("machine", content)
    return str(about.get("cpu")), str(about.get("cores")), str(about.get("device"))


def file_for(folder: Path, name: str, content: dict[str, Any]) -> Path:
    """Choose where a result is kept: a machine of another kind gets a file of its own."""
    plain = folder / f"{name}.json"
    if not plain.is_file() or kind(_read(plain)) == kind(content):
        return plain
    device = kind(content)[2].removeprefix("gpu: ")
    slug = re.sub(r"[^a-z0-9]+", "-", f"{device} {kind(content)[1]} cores".lower()).strip("-")
    return folder / f"{name}.{slug}.json"


def last_recorded(folder: Path, name: str, content: dict[str, Any]) -> dict[str, Any] | None:
    """Find the result of this name on the same kind of machine, None if there is none."""
    path = file_for(folder, name, content)
    return _read(path) if path.is_file() else None


def figures(content: Any, place: str = "") -> Iterator[tuple[str, float]]:
    """List the numbers of a result, named by where they stand; rows by their first words."""
    if isinstance(content, dict):
        for key, value in content.items():
            if key not in _ABOUT:
                yield from figures(value, f"{place} · {key}" if place else str(key))
    elif isinstance(content, list):
        for number, entry in enumerate(content):
            name = str(number)
            if isinstance(entry, dict):
                words = [str(v) for v in entry.values() if isinstance(v, str)]
                name = words[0] if words else name
            yield from figures(entry, f"{place} · {name}")
    elif isinstance(content, int | float) and not isinstance(content, bool):
        yield place, float(content)


def changes(
    now: dict[str, Any], before: dict[str, Any], least: float = 0.2
) -> list[dict[str, Any]]:
    """List the figures that moved by more than a share, worse ones first."""
    old = dict(figures(before))
    rows = []
    for name, value in figures(now):
        if name not in old or old[name] == 0 or value == 0:
            continue
        ratio = value / old[name]
        last = name.rsplit(" · ", 1)[-1]
        sense = 1 if _MORE.search(last) else -1 if _LESS.search(last) else 0
        if sense and abs(ratio - 1) > least:
            is_worse = (ratio < 1) == (sense > 0)
            rows.append({
                "": "worse" if is_worse else "better", "figure": name,
                "before": f"{old[name]:g}", "now": f"{value:g}", "×": f"{ratio:.2f}",
            })  # fmt: skip
    return sorted(rows, key=lambda row: row[""], reverse=True)


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))

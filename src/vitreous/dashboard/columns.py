"""What a run knows of each particle, as columns: named like those of `vitreous select`.

Columns of the run are there at once; those of the particle file once it has been read.
"""

import re
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Shaped, UInt16

from vitreous.analysis.principal import PrincipalComponents
from vitreous.analysis.run_columns import RunColumns
from vitreous.errors import InputError

Kind = Literal["number", "category"]
# More make no menu and no legend; they stay numbers, or are left out.
MOST_CATEGORIES = 2000
# Above this many particles the outlier score takes minutes.
_SCORED = 50_000
# Principal components of more particles take a second: when they are asked for.
_QUICK = 100_000
_NUMBERED = re.compile(r"(z|pc|umap|vpc)(\d+)")
_GROUPS = {"z": "latent", "pc": "pca", "umap": "umap", "vpc": "landscape"}
_LABELS = {"z": "z{}", "pc": "PC{}", "umap": "UMAP{}", "vpc": "volume PC{}"}
# Name → label, group, unit.
_KNOWN = {
    "cluster": ("cluster", "class", ""),
    "state": ("landscape state", "class", ""),
    "community": ("landscape community", "class", ""),
    "spread": ("spread (random)", "latent", ""),
    "density": ("density in the PC plane", "density", ""),
    "energy": ("free energy in the PC plane", "density", "kT"),
    "outlier": ("outlier score", "error", ""),
    "uncertainty": ("uncertainty of z", "error", ""),
    "motion": ("amount of motion", "motion", "Å"),
    "half_difference": ("half sets disagree by", "error", "Å"),
    "motion_cluster": ("cluster of motions", "class", ""),
    **{f"motion_{x}": (f"mean motion along {x}", "motion", "Å") for x in "xyz"},
    **{f"motion_at_{x}": (f"place of motion, {x}", "motion", "Å") for x in "xyz"},
}
# The first of these that there is; of a run of one map, from where particles are seen.
_PLANES = (("umap1", "umap2"), ("pc1", "pc2"), ("z1", "spread"), ("z1", "z2"), ("rot", "tilt"))
_LABELLED = ("cluster", "state", "community", "motion_cluster")


@dataclass(frozen=True)
class Column:
    """Describe one column.

    `group`: where a menu puts it. `names` of the categories, in the order of their codes.
    """

    name: str
    label: str
    group: str
    kind: Kind = "number"
    unit: str = ""
    names: tuple[str, ...] = ()


class ColumnStore:
    """Give the columns of a run in the order of its latents, each made when first asked for.

    **Arguments:** `warnings`: told of columns that cannot be had.
    """

    def __init__(self, of_run: RunColumns, warnings: list[str] | None = None) -> None:
        self._of_run = of_run
        self._warnings = [] if warnings is None else warnings
        self.z: Float32[np.ndarray, "n d"] = np.asarray(of_run.z, np.float32)
        self._columns: dict[str, Column] = {}
        self._makers: dict[str, Callable[[], np.ndarray]] = {}
        self._values: dict[str, np.ndarray] = {}
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        for name in of_run.names():
            self._add_of_run(name)

    def __len__(self) -> int:
        return len(self.z)

    @property
    def components(self) -> PrincipalComponents:
        """The principal components of the latents."""
        return self._of_run.components

    def __contains__(self, name: str) -> bool:
        return name in self._columns

    def __getitem__(self, name: str) -> Column:
        if name not in self._columns:
            raise InputError(f"no column {name!r}; there are {', '.join(self._columns)}")
        return self._columns[name]

    def columns(self) -> list[Column]:
        """List the columns there are by now."""
        return list(self._columns.values())

    def described(self) -> list[dict[str, Any]]:
        """List the columns in the words of the page; one that cannot be had is left out, and why
        is added to the warnings."""
        found = []
        for column in self.columns():
            try:
                found.append(self.describe(column))
            except InputError as error:
                del self._columns[column.name]
                self._warnings.append(str(error))
        return found

    def add(self, column: Column, make: Callable[[], np.ndarray]) -> None:
        """Take a column in; `make` gives its numbers, or its categories' codes, when needed."""
        self._makers[column.name] = make
        self._columns[column.name] = column

    def values(self, name: str) -> Float32[np.ndarray, " n"] | UInt16[np.ndarray, " n"]:
        """Return a column: float32 (NaN where not known), or uint16 codes of categories.

        **Raises:** `InputError` if there is no such column.
        """
        column = self[name]
        with self._locks[name]:
            if name not in self._values:
                made = self._makers[name]()
                if len(made) != len(self):
                    raise InputError(f"{name}: {len(made)} values for {len(self)} particles")
                kind = np.uint16 if column.kind == "category" else np.float32
                # A memory map stays one: its pages are the system's to drop.
                self._values[name] = made if made.dtype == kind else made.astype(kind)
            return self._values[name]

    def limits(self, name: str) -> tuple[float, float] | None:
        """Say between which values a column lies; None if that would take long to find out."""
        column = self[name]
        if column.kind == "category":
            return 0.0, float(max(len(column.names) - 1, 0))
        numbered = _NUMBERED.fullmatch(name)
        at_once = ("z", "umap") if len(self) > _QUICK else ("z", "umap", "pc")
        if name not in self._values and (numbered is None or numbered[1] not in at_once):
            return None
        values = self.values(name)
        if not np.isfinite(values).any():
            return None
        return float(np.nanmin(values)), float(np.nanmax(values))

    def describe(self, column: Column) -> dict[str, Any]:
        """Put a column into the words of the page."""
        limits = self.limits(column.name)
        found: dict[str, Any] = {
            "name": column.name,
            "label": column.label,
            "group": column.group,
            "kind": column.kind,
            "unit": column.unit,
            "low": None if limits is None else limits[0],
            "high": None if limits is None else limits[1],
        }
        if column.kind == "category":
            found["categories"] = list(column.names)
        return found

    def plane(self) -> tuple[str, str]:
        """Choose the plane that is shown first."""
        for pair in _PLANES:
            if pair[0] in self and pair[1] in self:
                return pair
        return "", ""

    def _add_of_run(self, name: str) -> None:
        make = partial(self._asked, name)
        numbered = _NUMBERED.fullmatch(name)
        if numbered is not None:
            kind, number = numbered[1], int(numbered[2])
            self.add(Column(name, _LABELS[kind].format(number), _GROUPS[kind]), make)
        elif name in _LABELLED:
            try:
                labels = self._asked(name)
            except InputError as error:
                # Several analyses, as a rule: which one is meant, only the user knows.
                self._warnings.append(str(error))
                return
            self.add_labels(Column(name, *_KNOWN[name][:2]), labels)
        elif name != "outlier" or len(self) <= _SCORED:
            label, group, unit = _KNOWN.get(name, (name.replace("_", " "), "run", ""))
            self.add(Column(name, label, group, unit=unit), make)

    def add_labels(self, column: Column, labels: Shaped[np.ndarray, " n"]) -> None:
        """Take a column of labels in as a category, if there are few enough of them."""
        values, codes = np.unique(labels, return_inverse=True)
        if len(values) <= MOST_CATEGORIES:
            names = tuple(map(str, values))
            made = Column(column.name, column.label, column.group, "category", names=names)
            codes = codes.astype(np.uint16)
            self.add(made, lambda: codes)

    def _asked(self, name: str) -> np.ndarray:
        values = self._of_run.column(name)
        if values is None:
            raise InputError(f"no column {name!r} in the run any more; open it again")
        return np.asarray(values) if not isinstance(values, np.memmap) else values

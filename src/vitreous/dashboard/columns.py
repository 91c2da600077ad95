"""What a run knows of each particle, as columns: named like those of `vitreous select`.

Columns of the latents are there at once; those of the particle file once it has been read.
"""

import re
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Shaped, UInt16

from vitreous.analysis.candidates import Candidates
from vitreous.analysis.density import log_density
from vitreous.analysis.principal import PrincipalComponents, fit_components
from vitreous.errors import InputError
from vitreous.training.run import Run

Kind = Literal["number", "category"]
# Categories travel as uint16.
MOST_CATEGORIES = 65_535
# Above this many particles the outlier score takes minutes.
_SCORED = 50_000


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

    **Arguments:** `candidates`: of the run; its table need not have been read.
    """

    def __init__(self, run: Run, candidates: Candidates) -> None:
        assert candidates.z is not None
        self._run, self._candidates = run, candidates
        self.z: Float32[np.ndarray, "n d"] = np.asarray(candidates.z, np.float32)
        self._columns: dict[str, Column] = {}
        self._makers: dict[str, Callable[[], np.ndarray]] = {}
        self._values: dict[str, np.ndarray] = {}
        self._pca: tuple[PrincipalComponents, np.ndarray] | None = None
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._add_latents()

    def __len__(self) -> int:
        return len(self.z)

    def __contains__(self, name: str) -> bool:
        return name in self._columns

    def __getitem__(self, name: str) -> Column:
        if name not in self._columns:
            raise InputError(f"no column {name!r}; there are {', '.join(self._columns)}")
        return self._columns[name]

    def columns(self) -> list[Column]:
        """List the columns there are by now."""
        return list(self._columns.values())

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
        """Say between which values a column lies, None if it was not needed yet."""
        if name not in self._values and not _is_quick(name):
            return None
        column = self[name]
        if column.kind == "category":
            return 0.0, float(max(len(column.names) - 1, 0))
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
        for pair in (("umap1", "umap2"), ("pc1", "pc2"), ("z1", "spread")):
            if pair[0] in self and pair[1] in self:
                return pair
        return "z1", "z1"

    @property
    def components(self) -> PrincipalComponents:
        """The principal components of the latents."""
        return self._fitted()[0]

    def _fitted(self) -> tuple[PrincipalComponents, np.ndarray]:
        with self._locks["(components)"]:
            if self._pca is None:
                fitted = fit_components(self.z)
                self._pca = fitted, fitted.transform(self.z).astype(np.float32)
            return self._pca

    def _score(self, k: int) -> np.ndarray:
        return self._fitted()[1][:, k]

    def _latent(self, k: int) -> np.ndarray:
        return self.z[:, k]

    def _add_latents(self) -> None:
        dimensions = min(self.z.shape[1], len(self))
        for k in range(dimensions):
            self.add(Column(f"pc{k + 1}", f"PC{k + 1}", "pca"), partial(self._score, k))
        if "umap1" in self._candidates.names_of_run():
            for k in range(2):
                make = self._asked(f"umap{k + 1}")
                self.add(Column(f"umap{k + 1}", f"UMAP{k + 1}", "umap"), make)
        for k in range(self.z.shape[1]):
            self.add(Column(f"z{k + 1}", f"z{k + 1}", "latent"), partial(self._latent, k))
        if self.z.shape[1] == 1:
            # One dimension makes no picture: the points spread at random over the other axis.
            spread = Column("spread", "spread (random)", "latent")
            self.add(spread, lambda: np.random.default_rng(0).random(len(self), np.float32))
        self._add_found()

    def _add_found(self) -> None:
        """Add what analyses of the run left, and what follows from its latents."""
        names = self._candidates.names_of_run()
        for name, group in (("cluster", "class"), ("state", "class"), ("community", "class")):
            if name in names:
                try:
                    self._add_labels(name, group, np.asarray(self._candidates.column(name)))
                except InputError:
                    # Several analyses: `--kmeans` says which.
                    continue
        for name in names:
            if re.fullmatch(r"vpc\d+", name):
                self.add(Column(name, f"volume PC{name[3:]}", "landscape"), self._asked(name))
        plane = [f"pc{k + 1}" for k in range(min(2, self.z.shape[1]))]
        self.add(
            Column("density", "density (PC plane)", "density"),
            lambda: np.exp(log_density(self._fitted()[1][:, : len(plane)])),
        )
        self.add(
            Column("energy", "free energy (PC plane)", "density", unit="kT"),
            lambda: -log_density(self._fitted()[1][:, : len(plane)]),
        )
        if len(self) <= _SCORED:
            self.add(Column("outlier", "outlier score", "error"), self._asked("outlier"))
        for file in sorted((self._run.path / "columns").glob("*.npy")):
            self.add(Column(file.stem, file.stem.replace("_", " "), "run"), _from_file(file))

    def _add_labels(self, name: str, group: str, labels: Shaped[np.ndarray, " n"]) -> None:
        values, codes = np.unique(labels, return_inverse=True)
        if len(values) <= MOST_CATEGORIES:
            column = Column(name, name, group, "category", names=tuple(map(str, values)))
            self.add(column, lambda: codes.astype(np.uint16))

    def _asked(self, name: str) -> Callable[[], np.ndarray]:
        return lambda: np.asarray(self._candidates.column(name))


def _from_file(file: Path) -> Callable[[], np.ndarray]:
    return lambda: np.load(file, mmap_mode="r", allow_pickle=False).reshape(-1)


def _is_quick(name: str) -> bool:
    return re.fullmatch(r"(z|pc|umap)\d+|cluster|spread|state|community", name) is not None

"""Reads the particle file behind a run in the background, and says how far it is."""

import tempfile
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from vitreous.analysis.candidates import Candidates
from vitreous.dashboard.columns import ColumnStore
from vitreous.dashboard.table_files import candidates_of, read_apart
from vitreous.errors import InputError
from vitreous.particles.table import ParticleTable


class TableReader:
    """Hold the particle table of a run once it has been read; `fault` says why it never will be."""

    def __init__(self, run: Path, datadir: Path | None) -> None:
        self._run, self._datadir = run, datadir
        self._candidates: Candidates | None = None
        self._table: ParticleTable | None = None
        self._done = threading.Event()
        self._thread: threading.Thread | None = None
        self.fault = ""

    @property
    def is_reading(self) -> bool:
        """Whether the table is still to come."""
        return self._thread is not None and not self._done.is_set()

    def candidates(self, epoch: int | None = None, clusters: int | None = None) -> Candidates:
        """Open what selections choose from. **Raises:** `InputError` if there are no latents."""
        self._candidates = candidates_of(self._run, self._datadir, epoch, clusters)
        return self._candidates

    def candidates_now(self, wait: bool = True) -> Candidates:
        """Return what `candidates` opened, its table read unless one need not `wait` for it."""
        if wait:
            self.wait()
        assert self._candidates is not None
        return self._candidates

    def start(self, store: ColumnStore, warnings: list[str]) -> None:
        """Begin to read; columns are added to `store`, and what goes wrong to `warnings`."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._read, args=(store, warnings), daemon=True)
            self._thread.start()

    def wait(self, seconds: float | None = None) -> None:
        """Wait until the table is there, or never will be."""
        if self._thread is not None:
            self._done.wait(seconds)

    def table(self) -> ParticleTable:
        """Return the table, one row a particle, when it is there.

        **Raises:** `InputError` if it cannot be read.
        """
        self.wait()
        if self._table is None:
            raise InputError(self.fault or f"{self._run}: its particles were not read")
        return self._table

    def images(self) -> ParticleTable:
        """Return the table with one row an image: of tilt series, every tilt.

        **Raises:** `InputError` if it cannot be read.
        """
        found, candidates = self.table(), self.candidates_now()
        if candidates.of != "particles":
            return found
        assert candidates.run is not None
        return candidates.run.table(candidates.datadir)

    def rows_of(self, particles: Sequence[int] | np.ndarray) -> ParticleTable:
        """Return the table of some particles only."""
        rows: Int64[np.ndarray, " k"] = np.asarray(particles, np.int64)
        return self.table().select(rows)

    def _read(self, store: ColumnStore, warnings: list[str]) -> None:
        assert self._candidates is not None
        assert self._candidates.run is not None
        try:
            images = int(self._candidates.run.config.get("images", len(store)))
            with tempfile.TemporaryDirectory(prefix="vitreous-dashboard-") as folder:
                table, columns = read_apart(self._run, self._datadir, Path(folder), images)
            # Rules then need not parse the file again to number its particles.
            self._candidates.table = table
            self._table = table
            for column, values in columns.items():
                if column.name not in store:
                    store.add(column, partial(np.asanyarray, values))
        except (InputError, OSError) as error:
            self.fault = str(error)
            warnings.append(f"no poses, defocus or images: {self.fault}")
        finally:
            self._done.set()

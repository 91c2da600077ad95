"""One opened run and what is known of it so far; what every route works on."""

import logging
import os
import threading
import time
from pathlib import Path

import numpy as np

from vitreous.dashboard.columns import ColumnStore
from vitreous.dashboard.maps import Maps
from vitreous.dashboard.rules import Rules
from vitreous.dashboard.table_reader import TableReader
from vitreous.errors import InputError
from vitreous.training.run import Run

logger = logging.getLogger(__name__)

# A fit that has not written for so long is not under way, whatever epoch it reached.
_SILENCE = 900.0
_FAREWELL = 10.0


class Session:
    """Hold an opened run: columns, rules, maps, particles; a context manager.

    `warnings` tell what is missing. While a fit has no latents yet, `store` is None and only its
    training can be shown.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        datadir: str | os.PathLike | None = None,
        epoch: int | None = None,
        clusters: int | None = None,
    ) -> None:
        """Open a run folder.

        **Arguments:** `datadir`: folder of the stacks, if they were moved. `epoch`: of latents,
        weights and analysis, the last if None. `clusters`: which `kmeansK`, if there are several.

        **Raises:** `InputError` if it is no run or has no such epoch, or `datadir` is no folder.
        """
        self.run = Run.open(path)
        if epoch is not None and epoch not in self.run.epochs():
            has = ", ".join(map(str, self.run.epochs())) or "none"
            raise InputError(f"{self.run.path}: no checkpoint of epoch {epoch} (there are: {has})")
        if datadir is not None and not Path(datadir).is_dir():
            raise InputError(f"--datadir {datadir}: no such folder")
        self.datadir = None if datadir is None else Path(datadir).absolute()
        self.warnings: list[str] = []
        self.table = TableReader(self.run.path, self.datadir)
        self.store: ColumnStore | None = None
        self._rules: Rules | None = None
        self._which = epoch, clusters
        self._is_started = False
        self._lock = threading.Lock()
        self._open()

    def _open(self) -> None:
        epoch, clusters = self._which
        try:
            candidates = self.table.candidates(epoch, clusters)
        except InputError as error:
            self.warnings.append(str(error))
        else:
            assert candidates.run is not None
            assert candidates.of_run is not None
            self.run = candidates.run
            self.store = ColumnStore(candidates.of_run, self.warnings)
            # The numbers of images follow from the run alone, others from the particle file.
            needs_table = candidates.of == "particles" or (
                self.run.config.get("particles", {}).get("ind") is not None
            )
            ready = self.table.wait if needs_table else lambda: None
            self._rules = Rules(self.store, candidates, ready)
        self.maps = Maps(self.run, self.zdim, epoch)

    @property
    def _has_latents(self) -> bool:
        return (self.run.path / "latents.npz").is_file()

    def look_again(self) -> None:
        """Take in the first latents and weights of a fit that had none when it was opened."""
        with self._lock:
            has_begun = bool(self.run.checkpoints.positions())
            if self.store is not None or not (has_begun or self._has_latents):
                return
            self.run = Run.open(self.run.path)
            self.warnings.clear()
            self._open()
            if self._is_started:
                self._is_started = False
                self.start()

    def __enter__(self) -> "Session":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        # The reader's process, if it still runs, has files to remove.
        self.table.wait(_FAREWELL)

    def start(self) -> None:
        """Do in the background what the first clicks would otherwise wait for."""
        if self._is_started:
            return
        self._is_started = True
        if self.store is not None:
            self.table.start(self.store, self.warnings)
        threading.Thread(target=self._warm, daemon=True).start()

    @property
    def zdim(self) -> int:
        """Number of latent dimensions; 0 for one map, or where it is not known yet."""
        if self.store is not None:
            return self.store.z.shape[1]
        return int(self.run.config.get("zdim") or 0)

    @property
    def particles(self) -> int:
        """Number of particles."""
        return int(self.run.config.get("images", 0)) if self.store is None else len(self.store)

    @property
    def is_training(self) -> bool:
        """Whether a fit is writing into the run."""
        written = [self.run.path / name for name in ("metrics.jsonl", "run.log", "config.yaml")]
        latest = max(file.stat().st_mtime for file in written if file.is_file())
        if time.time() - latest > _SILENCE:
            return False
        done, planned = self.epochs
        return self.store is None if planned is None else done < planned

    @property
    def epochs(self) -> tuple[int, int | None]:
        """How many epochs are done, and how many the fit was asked for, if it says."""
        done = max((e["epoch"] for e in self.run.metrics() if "epoch_mean" in e), default=0)
        own = self.run.config.get(str(self.run.config.get("method")), {})
        found = own.get("epochs") if isinstance(own, dict) else None
        return done, found if isinstance(found, int) else None

    def check_writable(self) -> None:
        """Make sure that nothing else is writing into the run.

        **Raises:** `InputError` while it is being fitted.
        """
        if self.is_training:
            raise InputError(
                f"{self.run.path}: is still training, so nothing is written into it; open it again "
                "when the fit has ended"
            )

    def latents(self) -> ColumnStore:
        """Return the columns.

        **Raises:** `InputError` while there are none.
        """
        if self.store is None:
            raise InputError(f"{self.run.path}: has no latents yet; only the training is shown")
        return self.store

    def rules(self) -> Rules:
        """Return the rules. **Raises:** `InputError` while there are no latents."""
        self.latents()
        assert self._rules is not None
        return self._rules

    def z_of(self, particle: int) -> np.ndarray:
        """Return the latent of a particle. **Raises:** `InputError` if there is none."""
        return self.latents().z[self.rules().check_particles([particle])[0]]

    def _warm(self) -> None:
        try:
            if self.maps.can_decode:
                self.maps.warm()
        except InputError as error:
            self.warnings.append(str(error))
        except Exception as error:
            # A click will say the same; the server must not fall over it.
            logger.warning("%s: cannot decode: %r", self.run.path, error)

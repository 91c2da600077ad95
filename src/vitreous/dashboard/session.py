"""One opened run and what is known of it so far; what every route works on."""

import logging
import os
import threading
import time
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from vitreous.analysis.candidates import Candidates
from vitreous.dashboard.columns import ColumnStore
from vitreous.dashboard.maps import Maps
from vitreous.dashboard.rules import Rules
from vitreous.errors import InputError
from vitreous.training.run import Run

logger = logging.getLogger(__name__)

# A fit that has not written for so long is not under way, whatever epoch it reached.
_SILENCE = 900.0


class Session:
    """Hold an opened run: columns, rules, maps; `warnings` for what is missing.

    `store`, `rules` and `candidates` are None while a fit has no latents yet.
    """

    def __init__(self, path: str | os.PathLike, datadir: str | os.PathLike | None = None) -> None:
        """Open a run folder.

        **Arguments:** `datadir`: folder of the stacks, if they were moved.

        **Raises:** `InputError` if it is no run, or `datadir` no folder.
        """
        self.run = Run.open(path)
        self.datadir = None if datadir is None else Path(datadir).absolute()
        if self.datadir is not None and not self.datadir.is_dir():
            raise InputError(f"--datadir {datadir}: no such folder")
        self.warnings: list[str] = []
        self.candidates: Candidates | None = None
        self.store: ColumnStore | None = None
        self.rules: Rules | None = None
        try:
            candidates = Candidates(self.run.path, datadir=self.datadir)
        except InputError as error:
            self.warnings.append(str(error))
        else:
            self.candidates = candidates
            self.store = ColumnStore(self.run, candidates)
            self.rules = Rules(self.store, candidates)
        self.maps = Maps(self.run, self.zdim)

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
        epochs = self.planned_epochs
        if epochs is None:
            return self.store is None
        return (
            max((e["epoch"] for e in self.run.metrics() if "epoch_mean" in e), default=0) < epochs
        )

    @property
    def planned_epochs(self) -> int | None:
        """How many epochs the fit was asked for, None if its configuration does not say."""
        own = self.run.config.get(str(self.run.config.get("method")), {})
        found = own.get("epochs") if isinstance(own, dict) else None
        return found if isinstance(found, int) else None

    def latents(self) -> ColumnStore:
        """Return the columns.

        **Raises:** `InputError` while there are none.
        """
        if self.store is None:
            raise InputError(f"{self.run.path}: has no latents yet; only the training is shown")
        return self.store

    def chooser(self) -> Rules:
        """Return the rules. **Raises:** `InputError` while there are no latents."""
        self.latents()
        assert self.rules is not None
        return self.rules

    def z_of(self, particle: int) -> np.ndarray:
        """Return the latent of a particle. **Raises:** `InputError` if there is none."""
        rows: Int64[np.ndarray, " k"] = self.chooser().check_particles([particle])
        return self.latents().z[rows[0]]

    def warm(self) -> None:
        """Do in the background what the first click would otherwise wait for."""

        def work() -> None:
            try:
                if self.maps.can_decode:
                    self.maps.warm()
            except InputError as error:
                self.warnings.append(str(error))
            except Exception as error:
                # The page says what a click brings; the server must not fall over it.
                logger.warning("%s: cannot decode: %r", self.run.path, error)

        threading.Thread(target=work, daemon=True).start()

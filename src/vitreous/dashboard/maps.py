"""Maps that a run decodes, one at a time, with the weights it had when it was opened."""

import shlex
import threading
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32

from vitreous.dashboard.columns import ColumnStore
from vitreous.errors import InputError
from vitreous.maps import read_map
from vitreous.training.run import Run

Volume = Float32[np.ndarray, "n n n"]
# Where runs leave the map of all their images.
_CONSENSUS = ("consensus/reconstruct.mrc", "volumes/consensus.mrc", "consensus.mrc")


class Maps:
    """Decode volumes of a run.

    **Arguments:** `dimensions`: of its latents; 0 for a run of one map. `epoch`: the last if None.
    """

    def __init__(self, run: Run, dimensions: int, epoch: int | None = None) -> None:
        self.run, self.dimensions = run, dimensions
        self._lock = threading.Lock()
        epochs = run.epochs()
        self._is_last = epoch is None
        self.epoch = epochs[-1] if epoch is None and epochs else epoch

    @property
    def can_decode(self) -> bool:
        """Whether the run has anything to decode with yet."""
        return self.epoch is not None or bool(self.run.checkpoints.positions())

    def warm(self) -> None:
        """Load the decoder and compile it, so that the first click is as fast as the others."""
        self.decode(np.zeros(self.dimensions, np.float32))

    def decode(self, z: Float[np.ndarray, " d"]) -> Volume:
        """Decode one volume.

        **Raises:** `InputError` if the run has no checkpoint, or latents of another dimension.
        """
        if z.shape != (self.dimensions,) or not np.isfinite(z).all():
            raise InputError(f"z: the latents of this run are {self.dimensions} numbers")
        with self._lock:
            made = self.run.decode(z[None].astype(np.float32), epoch=self.epoch)
        return np.asarray(made[0], np.float32)

    def command(self, z: Float[np.ndarray, " d"]) -> str:
        """Word the command that decodes the same volume."""
        words = ["vitreous", "eval-vol", str(self.run.path)]
        words += [] if self._is_last else ["--epoch", str(self.epoch)]
        return shlex.join([*words, "-z", *(f"{x:.7g}" for x in z), "-o", "vol.mrc"])

    def consensus(self, store: ColumnStore | None) -> tuple[Volume, str]:
        """Return the map of all particles, and the command that shows it.

        It is the one the run left, or else what it decodes at the mean of its latents.
        """
        files = (self.run.path / name for name in _CONSENSUS)
        file: Path | None = next((file for file in files if file.is_file()), None)
        if file is not None:
            return read_map(file).data, shlex.join(["vitreous", "view", str(file)])
        middle = np.zeros(self.dimensions, np.float32)
        if store is not None and self.dimensions:
            middle = store.z.mean(axis=0, dtype=np.float64).astype(np.float32)
        return self.decode(middle), self.command(middle)

"""Maps of a run for the page: decoded, of its consensus, and at the centres of clusters."""

import shlex
import threading
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from vitreous.errors import InputError
from vitreous.maps import read_map
from vitreous.training.run import Run

Volume = Float32[np.ndarray, "n n n"]


class Maps:
    """Decode the volumes of a run, one at a time, with the weights it had when it was opened."""

    def __init__(self, run: Run, dimensions: int) -> None:
        self.run, self.dimensions = run, dimensions
        self._lock = threading.Lock()
        epochs = run.epochs()
        self.epoch = epochs[-1] if epochs else None

    @property
    def can_decode(self) -> bool:
        """Whether the run has anything to decode with yet."""
        return self.epoch is not None or bool(self.run.checkpoints.positions())

    def warm(self) -> None:
        """Load the decoder and compile it, so that the first click is as fast as the others."""
        self.decode(np.zeros(self.dimensions, np.float32))

    def decode(self, z: Float32[np.ndarray, " d"]) -> Volume:
        """Decode one volume.

        **Raises:** `InputError` if the run has no checkpoint, or latents of another dimension.
        """
        if z.shape != (self.dimensions,) or not np.isfinite(z).all():
            raise InputError(f"z: {self.dimensions} numbers are wanted, for the latents of the run")
        with self._lock:
            return np.asarray(self.run.decode(z[None], epoch=self.epoch)[0], np.float32)

    def command(self, z: Float32[np.ndarray, " d"]) -> str:
        """Word the command that decodes the same volume."""
        numbers = [f"{x:.7g}" for x in z]
        return shlex.join(
            ["vitreous", "eval-vol", str(self.run.path), "-z", *numbers, "-o", "vol.mrc"]
        )

    def consensus_file(self) -> Path | None:
        """Find the map of all particles that the run left, if it did."""
        names = ("consensus/reconstruct.mrc", "consensus/consensus.mrc", "volumes/consensus.mrc")
        return next((self.run.path / n for n in names if (self.run.path / n).is_file()), None)

    def consensus(self, z: Float32[np.ndarray, "n d"]) -> Volume:
        """Return the consensus map, or what the run decodes at the mean of its latents."""
        file = self.consensus_file()
        if file is not None:
            return read_map(file).data
        return self.decode(z.mean(axis=0))

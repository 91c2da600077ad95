"""What an interrupted fit goes on from: written now and then, and when a signal asks to stop."""

import signal
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from vitreous.errors import InputError, Interrupted
from vitreous.files import atomic_path
from vitreous.methods.subspace.em import Kept
from vitreous.methods.subspace.estimate import Estimate
from vitreous.methods.subspace.ground import Ground
from vitreous.methods.subspace.model import Noise, Subspace
from vitreous.training.distributed import gather_numbers
from vitreous.training.signals import StopRequest

STATE = "em.npz"
# Seconds between two files while nobody asks.
_INTERVAL = 60.0


class Keeper:
    """Remember where a fit stands.

    **Arguments:** `folder`: of the run. `command`: what goes on with it.
    """

    def __init__(self, folder: Path, stop: StopRequest, command: str) -> None:
        self.folder, self._stop, self._command = folder, stop, command
        self._kept: Kept | None = None
        self._written = time.monotonic()
        self.ground: Ground | None = None

    def __call__(self, kept: Kept) -> None:
        """Take the state between two iterations.

        **Raises:** `Interrupted` if a signal came.
        """
        self._kept = kept
        # All processes stop after the same iteration.
        asked = gather_numbers(np.asarray(self._stop.signal or 0, np.int32)).max()
        if asked:
            self._stop.signal = signal.Signals(int(asked))
        self._raise_if_asked()
        if time.monotonic() - self._written > _INTERVAL:
            self._write()

    def poll(self) -> None:
        """Stop if a signal came, between two batches as well; of several processes none may.

        **Raises:** `Interrupted` if so, with the last state written.
        """
        if jax.process_count() == 1:
            self._raise_if_asked()

    def _raise_if_asked(self) -> None:
        if not self._stop:
            return
        self._write()
        done = 0 if self._kept is None else self._kept.done
        assert self._stop.signal is not None
        raise Interrupted(
            f"stopped by {self._stop.signal.name} after iteration {done}; "
            f"continue with: {self._command}"
        )

    def _write(self) -> None:
        if self._kept is None or self.ground is None:
            return
        estimate = self._kept.estimate
        arrays = {
            "done": self._kept.done,
            "history": self._kept.history,
            "grid": estimate.subspace.grid,
            "ahead": estimate.ahead,
            "volumes": estimate.volumes,
            "fsc": estimate.fsc,
            "power": estimate.noise.power,
            "half_maps": self.ground.half_maps,
            "radius": self.ground.radius,
        }
        with atomic_path(self.folder / STATE) as temporary:
            np.savez(temporary, **{k: np.asarray(v) for k, v in arrays.items()})  # type: ignore[arg-type]
        self._written = time.monotonic()


def read_ground(folder: Path) -> Ground | None:
    """Read the ground of an interrupted fit, None where there is no such fit."""
    file = folder / STATE
    if not file.is_file():
        return None
    with np.load(file, allow_pickle=False) as stored:
        return Ground(stored["half_maps"], float(stored["radius"]))


def read_kept(folder: Path, like: Estimate) -> Kept:
    """Read where a fit stood.

    **Arguments:** `like`: the estimate it began with, for half sets and groups.

    **Raises:** `InputError` if it was of another model.
    """
    with np.load(folder / STATE, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    if arrays["grid"].shape != like.subspace.grid.shape:
        raise InputError(f"{folder / STATE}: of another fit; remove it to start over")
    device = {name: jnp.asarray(value) for name, value in arrays.items() if name != "done"}
    estimate = Estimate(
        Subspace(device["grid"], like.subspace.half),
        device["ahead"],
        device["volumes"],
        device["fsc"],
        Noise(device["power"], like.noise.group, like.noise.last_shell),
    )
    return Kept(int(arrays["done"]), estimate, tuple(arrays["history"].tolist()))

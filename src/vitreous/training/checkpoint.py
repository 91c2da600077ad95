"""Checkpoints of a run: the whole state of a fit and its place in the stream, by Orbax.

A checkpoint is a folder named by its place in millionths of an epoch: `3000000` after three. It
appears under that name only when whole; whatever a killed writer left has another name and is
never picked.
"""

import contextlib
import logging
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from vitreous.errors import InputError
from vitreous.files import is_writer
from vitreous.particles.device_data import fetch
from vitreous.training.distributed import wait_for_all
from vitreous.training.position import Position

# Left free on the disk for logs and the index of the checkpoint itself.
_SPARE_BYTES = 1 << 20
# How often, and with what pause in seconds, a folder still being written to is swept again.
_SWEEPS = 40
_SWEEP_PAUSE = 0.1


@contextlib.contextmanager
def _quiet_writer() -> Iterator[None]:
    """Keep Orbax's threads from printing an exception that reaches us anyway."""
    hook, log = threading.excepthook, logging.getLogger("absl")
    disabled = log.disabled
    threading.excepthook = lambda _: None
    log.disabled = True
    try:
        yield
    finally:
        threading.excepthook, log.disabled = hook, disabled


def name_leaves(state: PyTree) -> dict[str, Any]:
    """List the array leaves of a pytree by their path, `decoder.layers.0.weight`."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    names = {}
    for path, leaf in leaves:
        if not hasattr(leaf, "shape") or not hasattr(leaf, "dtype"):
            continue
        # Orbax makes folders of names: no slashes.
        name = jax.tree_util.keystr(path, simple=True, separator=".").replace("/", "_")
        names[name or "state"] = leaf
    return names


def fill_leaves(template: PyTree, arrays: dict[str, np.ndarray], prefix: str = "") -> PyTree:
    """Replace the array leaves of `template` by the stored ones of the same path.

    **Arguments:** `template`: arrays or `jax.ShapeDtypeStruct`s. `prefix`: path of the template
    within the stored state, as `decoder.`, to load a part.

    **Raises:** `InputError` if a leaf is not stored or has another shape.
    """

    def pick(path, leaf):
        if not hasattr(leaf, "shape") or not hasattr(leaf, "dtype"):
            return leaf
        name = jax.tree_util.keystr(path, simple=True, separator=".").replace("/", "_")
        stored = arrays.get((prefix + name) or "state")
        if stored is None:
            raise InputError(
                f"the checkpoint holds no {prefix + name}: it was made by another model"
            )
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(stored)
        if tuple(stored.shape) != tuple(leaf.shape):
            raise InputError(
                f"the checkpoint's {prefix + name} has shape {tuple(stored.shape)}, the model's "
                f"{tuple(leaf.shape)}: use the options the run was started with"
            )
        return jax.numpy.asarray(stored, leaf.dtype)

    return jax.tree_util.tree_map_with_path(pick, template)


def _to_host(leaf: Any) -> np.ndarray:
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return np.asarray(fetch(leaf))


class Checkpoints:
    """The checkpoints in one folder, oldest first."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._positions: dict[int, Position] = {}

    @cached_property
    def _manager(self):
        import orbax.checkpoint as ocp

        self.folder.mkdir(parents=True, exist_ok=True)
        options = ocp.CheckpointManagerOptions(enable_async_checkpointing=False)
        if jax.process_count() > 1:
            # Each process is a world of its own to Orbax: the first one writes what all have
            # gathered, and a run goes on with any number of processes.
            here = jax.process_index()
            options = ocp.CheckpointManagerOptions(
                enable_async_checkpointing=False,
                create=False,
                multiprocessing_options=ocp.options.MultiprocessingOptions(
                    primary_host=here,
                    active_processes={here},
                    barrier_sync_key_prefix=f"process{here}",
                ),
            )
        return ocp.CheckpointManager(self.folder.resolve(), options=options)

    def positions(self) -> list[Position]:
        """List where the whole checkpoints stand, oldest first; sees those of another process."""
        if not self.folder.is_dir():
            return []
        self._manager.reload()
        return [self._position(number) for number in sorted(self._whole())]

    def _whole(self) -> list[int]:
        """List the checkpoints that have all their parts; a killed deletion may leave some."""
        parts = ("position", "state")
        return [
            number
            for number in self._manager.all_steps()
            if all((self.folder / str(number) / part).is_dir() for part in parts)
        ]

    def latest(self) -> Position | None:
        """Return the place of the newest checkpoint, None if there is none."""
        positions = self.positions()
        return positions[-1] if positions else None

    def epochs(self) -> list[int]:
        """List the completed epochs that have a checkpoint."""
        return [p.epoch for p in self.positions() if p.step == 0]

    def save(self, state: PyTree, position: Position) -> None:
        """Write the state; on any failure nothing of it stays.

        All processes must call it; the first writes.

        **Raises:** `InputError` if the disk is full or the folder cannot be written.
        """
        arrays = {name: _to_host(leaf) for name, leaf in name_leaves(state).items()}
        if is_writer():
            self._write(arrays, position)
        wait_for_all("checkpoint")

    def _write(self, arrays: dict[str, np.ndarray], position: Position) -> None:
        import orbax.checkpoint as ocp

        if position.number in self._whole():
            return
        # Of a deletion that was killed: it would be in the way.
        if (self.folder / str(position.number)).is_dir():
            self._delete(position.number)
        need = sum(array.nbytes for array in arrays.values())
        free = shutil.disk_usage(self.folder).free
        if free < 1.1 * need + _SPARE_BYTES:
            raise self._cannot_write(f"{need >> 20} MiB needed, {free >> 20} MiB free")
        try:
            with _quiet_writer():
                self._manager.save(
                    position.number,
                    args=ocp.args.Composite(
                        state=ocp.args.StandardSave(arrays),
                        position=ocp.args.JsonSave(asdict(position)),
                    ),
                    force=True,
                )
        except BaseException as error:
            self.remove_leftovers()
            if isinstance(error, Exception):
                raise self._cannot_write(str(error).splitlines()[0][:200]) from error
            raise
        self._positions[position.number] = position

    def _cannot_write(self, why: str) -> InputError:
        return InputError(
            f"cannot write a checkpoint to {self.folder}: {why}; make room and continue with "
            "--resume"
        )

    def load(self, position: Position) -> dict[str, np.ndarray]:
        """Read the arrays of a checkpoint by their path."""
        import orbax.checkpoint as ocp

        try:
            read = self._manager.restore(
                position.number, args=ocp.args.Composite(state=ocp.args.StandardRestore())
            )
        except Exception as error:
            raise InputError(
                f"{self.folder / str(position.number)}: cannot be read "
                f"({str(error).splitlines()[0][:200]}); remove this folder to use an older one"
            ) from error
        return {name: np.asarray(array) for name, array in read["state"].items()}

    def at_epoch(self, epoch: int | None = None) -> Position:
        """Find the checkpoint after `epoch` epochs, or the newest.

        **Raises:** `InputError` if there is none.
        """
        positions = self.positions()
        if epoch is not None:
            positions = [p for p in positions if p.epoch == epoch and p.step == 0]
        if not positions:
            which = "no checkpoint" if epoch is None else f"no checkpoint of epoch {epoch}"
            has = ", ".join(map(str, self.epochs())) or "none"
            raise InputError(f"{self.folder}: {which} (epochs with one: {has})")
        return positions[-1]

    def prune(self, keep: int | None = None) -> None:
        """Delete what the newest checkpoint replaces.

        Of the older ones within an epoch none stays; of those after an epoch, with the newest,
        the last `keep`, or all.
        """
        if not is_writer():
            return
        *older, newest = self.positions()
        finished = [p for p in older if p.step == 0]
        spare = [p for p in older if p.step]
        if keep is not None:
            stay = max(keep - (newest.step == 0), 0)
            spare += finished[: max(len(finished) - stay, 0)]
        for position in spare:
            self._delete(position.number)

    def _delete(self, number: int) -> None:
        """Take the name from a checkpoint, then its files: killed in between, nobody picks it."""
        doomed = self.folder / f"{number}.orbax-checkpoint-tmp-deleted"
        (self.folder / str(number)).rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)
        self._positions.pop(number, None)
        self._manager.reload()

    def remove_leftovers(self) -> None:
        """Delete what a killed or failed writer left behind."""
        for _ in range(_SWEEPS):
            left = list(self.folder.glob("*.orbax-checkpoint-tmp*"))
            for path in left:
                shutil.rmtree(path, ignore_errors=True)
            if not left:
                return
            # After a failure, Orbax's threads may write for a moment longer.
            time.sleep(_SWEEP_PAUSE)

    def _position(self, number: int) -> Position:
        import orbax.checkpoint as ocp

        if number not in self._positions:
            wanted = ocp.args.Composite(position=ocp.args.JsonRestore())
            self._positions[number] = Position(
                **self._manager.restore(number, args=wanted)["position"]
            )
        return self._positions[number]

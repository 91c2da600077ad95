"""Checkpoints of a run: the whole state of a fit and its place in the stream, by Orbax.

A checkpoint is a folder named by its place in millionths of an epoch: `3000000` after three. It
appears under that name only when whole; whatever a killed writer left has another name and is
never picked. A fit has them written behind its back, from a copy, while its steps go on.
"""

import contextlib
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from vitreous.errors import InputError
from vitreous.files import is_writer
from vitreous.particles.device_data import fetch
from vitreous.training.background import Background, quiet_threads
from vitreous.training.distributed import wait_for_all
from vitreous.training.position import Position, replaced

# Left free on the disk for logs and the index of the checkpoint itself.
_SPARE_BYTES = 1 << 20
# How often, and with what pause in seconds, a folder still being written to is swept again.
_SWEEPS = 40
_SWEEP_PAUSE = 0.1


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
    # A copy: on CPUs what is fetched is the memory that the next step overwrites.
    return np.array(fetch(leaf))


class Checkpoints:
    """The checkpoints in one folder, oldest first.

    Whatever is asked of them waits for the one that is being written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._positions: dict[int, Position] = {}
        self._behind = Background()

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
        self.wait()
        return self._listed()

    def _listed(self) -> list[Position]:
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
        self.save_behind(state, position)
        self.wait()
        wait_for_all("checkpoint")

    def save_behind(self, state: PyTree, position: Position) -> None:
        """Copy the state and return while it is written; `wait` tells that it lies there.

        One that is still being written is waited for: of two copies there would be room for one.

        **Raises:** `InputError` if the last one could not be written.
        """
        self.wait()
        arrays = {name: _to_host(leaf) for name, leaf in name_leaves(state).items()}
        if is_writer():
            self._behind.do(partial(self._write, arrays, position))

    def check(self) -> None:
        """Raise `InputError` if a checkpoint written behind has failed by now; does not wait."""
        self._behind.check()

    def wait(self) -> None:
        """Wait until everything is written, and what it replaces is gone.

        **Raises:** `InputError` if it could not be.
        """
        self._behind.wait()

    @contextlib.contextmanager
    def settled(self) -> Iterator[None]:
        """Leave nothing half done at the end of a block, however it ends."""
        try:
            yield
        except BaseException:
            # The first failure is the one to tell.
            with contextlib.suppress(InputError):
                self.wait()
            raise
        self.wait()

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
            with quiet_threads():
                self._manager.save(
                    position.number,
                    args=ocp.args.Composite(
                        state=ocp.args.StandardSave(arrays),
                        position=ocp.args.JsonSave(asdict(position)),
                    ),
                    force=True,
                )
        except BaseException as error:
            self._sweep()
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

        self.wait()
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
        """Delete what the newest checkpoint replaces, behind, once that is written.

        Of the older ones within an epoch none stays; of those after an epoch, with the newest,
        the last `keep`, or all.
        """
        if is_writer():
            self._behind.do(partial(self._prune, keep))

    def _prune(self, keep: int | None) -> None:
        for position in replaced(self._listed(), keep):
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
        self.wait()
        self._sweep()

    def _sweep(self) -> None:
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

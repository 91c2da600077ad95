"""Kill a small fit at random moments, let it go on, and compare the bits with one left alone.

    python benchmarks/kill_trials.py --trials 50                # one process, kill -9
    python benchmarks/kill_trials.py --trials 20 --processes 2  # one of two is killed
    python benchmarks/kill_trials.py --signal USR1 --processes 2  # all are told to save and stop

The fit writes a checkpoint after every block of steps, so that many moments fall into a write.
After each kill every file of the run must be readable; the run that goes on must end in the same
bits. Of several processes a random one is killed: the others must be gone within a minute, and the
fit goes on in as many. Told to stop by a signal, the fit must end with status 0.

A single process is forked from this one, which has imported everything and started nothing: half
of a trial's time would be imports.
"""

import argparse
import contextlib
import json
import os
import pickle
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint  # noqa: F401 (once, not in every child)
import yaml
from PIL import Image
from record import machine, print_table, write_json

from vitreous.cli.common import start_jax
from vitreous.errors import Interrupted
from vitreous.files import is_writer
from vitreous.particles.device_data import fetch
from vitreous.particles.loader import PreparedImages
from vitreous.particles.table import ParticleTable
from vitreous.training.checkpoint import Checkpoints
from vitreous.training.distributed import initialise
from vitreous.training.fit import FitOptions, fit
from vitreous.training.mesh import data_mesh
from vitreous.training.metrics_log import read_metrics
from vitreous.training.run import Latents, Run

COUNT, BOX, LATENT = 240, 16, 3
HANG = 60.0


class State(NamedTuple):
    """Weights, a latent for each image, and the optimiser's moments."""

    weights: jax.Array
    table: jax.Array
    moments: Any


class LinearFit:
    """Fit pixels ≈ latent · weights, with noise in each step so that its keys matter."""

    def __init__(self, pixels: int) -> None:
        self.pixels, self.optimiser = pixels, optax.adam(1e-2)

    def init(self, key):
        first, second = jax.random.split(key)
        weights = 0.1 * jax.random.normal(first, (LATENT, 2 * self.pixels))
        table = 0.1 * jax.random.normal(second, (COUNT, LATENT))
        return State(weights, table, self.optimiser.init((weights, table)))

    def step(self, state: State, batch, key, progress):
        target = jnp.concatenate([batch.pixels.real, batch.pixels.imag], axis=1)
        target = target + 0.01 * jax.random.normal(key, target.shape)

        def loss(parameters):
            weights, table = parameters
            error = jnp.mean((table[batch.index] @ weights - target) ** 2, axis=1)
            return jnp.sum(batch.weight * error) / jnp.maximum(jnp.sum(batch.weight), 1)

        parameters = (state.weights, state.table)
        value, gradient = jax.value_and_grad(loss)(parameters)
        update, moments = self.optimiser.update(gradient, state.moments)
        weights, table = optax.apply_updates(parameters, update)
        return State(weights, table, moments), {"loss": value}


class Noise:
    """Images of noise, the same in every process."""

    box = BOX

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self._images = rng.normal(size=(COUNT, BOX, BOX)).astype(np.float32)

    def __len__(self) -> int:
        return COUNT

    def read(self, index: np.ndarray) -> np.ndarray:
        return self._images[index]


def particle_table() -> ParticleTable:
    """Describe the images: no poses, no CTF."""
    return ParticleTable(
        stacks=("noise.mrcs",),
        stack_id=np.zeros(COUNT, np.int32),
        image_index=np.arange(COUNT),
        box=np.full(COUNT, BOX, np.int32),
        pixel_size=np.full(COUNT, 2.0),
        rotation=None,
        shift=np.zeros((COUNT, 2), np.float32),
        ctf=None,
        optics_group=np.zeros(COUNT, np.int32),
        row=np.arange(COUNT),
    )


def run_fit(folder: Path) -> None:
    """Start the fit or go on with it, and save the bits of its end: what a child does."""
    start_jax()
    mesh = data_mesh() if initialise() is not None else None
    data = PreparedImages.build(particle_table(), Noise(), resident=True, mesh=mesh)
    made = (folder / "config.yaml").exists()
    run = Run.open(folder) if made else Run.create(folder, {"method": "linear", "images": COUNT})
    print("started", flush=True)
    options = FitOptions(epochs=4, batch_size=16, log_every=3, checkpoint_minutes=0.0, quiet=True)

    def on_checkpoint(state: State, epoch: int) -> None:
        run.save_latents(Latents(np.asarray(fetch(state.table)), None), epoch)

    state = fit(LinearFit(len(data.pixels)), data, run, options, on_checkpoint)
    leaves = [np.asarray(fetch(leaf)) for leaf in jax.tree.leaves(state)]
    if is_writer():
        np.savez(folder / "end.npz", *leaves)


class Forked:
    """A fit in a child of this process; what of `subprocess.Popen` the trials need."""

    def __init__(self, folder: Path) -> None:
        reader, writer = os.pipe()
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            os.close(reader)
            os.dup2(writer, 1)
            status = 1
            try:
                with contextlib.suppress(Interrupted):
                    run_fit(folder)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                os._exit(status)
        os.close(writer)
        self.stdout = os.fdopen(reader)

    def poll(self) -> int | None:
        """Return its exit status, None while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def communicate(self, timeout: float) -> tuple[str, str]:
        """Wait for its end."""
        until = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired("fit", timeout)
            time.sleep(0.002)
        with self.stdout:
            return self.stdout.read(), ""

    def kill(self) -> None:
        """End it at once."""
        os.kill(self.pid, signal.SIGKILL)


def in_child(work: Callable[[], Any]) -> Any:
    """Return what a function gives in a child: this process starts nothing, so that it may fork."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        with os.fdopen(writer, "wb") as out:
            pickle.dump(work(), out)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        found = pickle.load(answer)
    os.waitpid(pid, 0)
    return found


def start(folder: Path, processes: int) -> "subprocess.Popen | Forked":
    """Start a child, or as many as there are, and return when it says that it has begun."""
    child: Any
    if processes == 1:
        child = Forked(folder)
    else:
        launch = [sys.executable, "-m", "vitreous.cli.main", "launch", "-n", str(processes)]
        logs = ["--logs", str(folder.parent / f"{folder.name}.logs")]
        words = [*launch, *logs, "--", sys.executable, __file__, "--child", str(folder)]
        child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in child.stdout:
        if line.startswith("started"):
            return child
    raise SystemExit(f"a fit did not start: {child.communicate(timeout=HANG)[1][-2000:]}")


def finish(folder: Path, processes: int) -> float:
    """Run a fit to its end; the seconds from its beginning."""
    child = start(folder, processes)
    began = time.monotonic()
    _, errors = child.communicate(timeout=600.0)
    if child.returncode:
        raise SystemExit(f"a fit failed: {errors[-2000:]}")
    return time.monotonic() - began


def victim(child: "subprocess.Popen | Forked", processes: int, rng: random.Random) -> int:
    """Choose the process to kill: the fit, or one of those that the launcher started."""
    if processes == 1:
        return child.pid
    listed = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
    return int(rng.choice(listed))


def unreadable(folder: Path) -> tuple[list[str], int]:
    """Name the files of a run that cannot be read as what they say, and count checkpoints."""
    bad = []
    for path in sorted(folder.rglob("*")):
        try:
            if path.suffix == ".npz":
                with np.load(path, allow_pickle=False) as arrays:
                    [arrays[name] for name in arrays.files]
            elif path.name == "config.yaml":
                assert isinstance(yaml.safe_load(path.read_text()), dict)
            elif path.suffix == ".png":
                Image.open(path).load()
            elif path.name == "metrics.jsonl":
                read_metrics(path)
        except Exception as error:
            # A name that starts with a dot is of a write under way, which nobody reads.
            if not path.name.startswith("."):
                bad.append(f"{path.name}: {error}")
    checkpoints = Checkpoints(folder / "checkpoints")
    positions = checkpoints.positions()
    for position in positions:
        try:
            checkpoints.load(position)
        except Exception as error:
            bad.append(f"checkpoint {position.number}: {error}")
    return bad, len(positions)


def same_bits(folder: Path, whole: Path) -> bool:
    """Compare the ends of two fits, and the losses they recorded."""
    with np.load(folder / "end.npz") as first, np.load(whole / "end.npz") as second:
        if any(not np.array_equal(first[n], second[n]) for n in second.files):
            return False
    losses = [
        [(e["step"], e["loss"]) for e in read_metrics(f / "metrics.jsonl")] for f in (folder, whole)
    ]
    return losses[0] == losses[1]


def one_trial(
    folder: Path,
    whole: Path,
    processes: int,
    seconds: float,
    rng: random.Random,
    kind: signal.Signals,
) -> dict:
    """Kill once, or tell to stop; look at what is left, go on, compare."""
    child = start(folder, processes)
    moment = rng.uniform(0, seconds)
    time.sleep(moment)
    killed = child.poll() is None
    if killed:
        killing = kind == signal.SIGKILL
        os.kill(victim(child, processes, rng) if killing else child.pid, kind)
    began = time.monotonic()
    try:
        child.communicate(timeout=4 * HANG)
    except subprocess.TimeoutExpired:
        child.kill()
    gone = time.monotonic() - began
    bad, left = in_child(lambda: unreadable(folder))
    finish(folder, processes)
    return {
        "moment": round(moment, 3),
        "killed": killed,
        "status": child.returncode,
        "gone after s": round(gone, 2),
        "checkpoints left": left,
        "unreadable": len(bad),
        "what": "; ".join(bad)[:200],
        "same bits": same_bits(folder, whole),
    }


def main() -> None:
    """Run the trials, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--signal", choices=["KILL", "TERM", "USR1"], default="KILL")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("--child", type=Path, default=None, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child is not None:
        with contextlib.suppress(Interrupted):
            run_fit(args.child)
        return
    rng, rows = random.Random(args.seed), []
    kind = signal.Signals[f"SIG{args.signal}"]
    with tempfile.TemporaryDirectory() as name:
        whole = Path(name) / "whole"
        finish(whole, args.processes)
        # Again, with compiled code at hand: as long as the trials will take.
        seconds = finish(Path(name) / "timed", args.processes)
        for number in range(args.trials):
            folder = Path(name) / f"trial{number}"
            rows.append(one_trial(folder, whole, args.processes, seconds, rng, kind))
            print(json.dumps(rows[-1]), flush=True)
    summary = {
        "trials": len(rows),
        "processes": args.processes,
        "signal": args.signal,
        "killed in time": sum(row["killed"] for row in rows),
        "same bits": sum(row["same bits"] for row in rows),
        "unreadable files": sum(row["unreadable"] for row in rows),
        "longest to end (s)": max(row["gone after s"] for row in rows),
    }
    print_table([summary], list(summary))
    suffix = f"_{args.processes}" if args.processes > 1 else ""
    suffix += "" if kind == signal.SIGKILL else f"_{args.signal.lower()}"
    write_json(args.json, f"kill_trials{suffix}", {"rows": [summary], "all": rows} | machine())
    failed = summary["same bits"] < len(rows) or summary["unreadable files"] > 0
    failed |= kind != signal.SIGKILL and any(row["status"] for row in rows)
    if failed or summary["longest to end (s)"] > HANG:
        raise SystemExit(1)


if __name__ == "__main__":
    main()

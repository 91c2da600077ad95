"""A fit that is killed, asked to stop or out of room: what is left goes on to the same bits."""

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from toy import ToyMethod
from toy_run import fit_toy

from vitreous.errors import InputError, Interrupted
from vitreous.training.checkpoint import Checkpoints
from vitreous.training.metrics_log import MetricsLog
from vitreous.training.run import Run

SCRIPT = Path(__file__).with_name("toy_run.py")


@pytest.fixture(scope="module")
def wholes(tmp_path_factory):
    """Where runs that were left alone lie: each is made once, and then only read."""
    return tmp_path_factory.mktemp("wholes")


def start(folder):
    """Start a slow fit and wait until it is within its second epoch."""
    process = subprocess.Popen([sys.executable, SCRIPT, folder], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "running\n"
    process.stdout.readline()
    return process


def assert_goes_on_as_if_nothing_happened(folder, whole):
    """Resume, and compare weights and records with a run that was left alone."""
    for a, b in zip(fit_toy(folder), fit_toy(whole), strict=True):
        np.testing.assert_array_equal(a, b)
    records = [
        [(entry["epoch"], entry["step"], entry["loss"]) for entry in Run.open(path).metrics()]
        for path in (folder, whole)
    ]
    assert records[0] == records[1]


@pytest.mark.parametrize("way", ["resident", "streamed"])
def test_kill_9_and_resume_ends_in_the_same_bits(tmp_path, wholes, way):
    process = start(tmp_path / way)
    process.kill()
    process.communicate(timeout=60)
    assert [p.step for p in Run.open(tmp_path / way).checkpoints.positions()] == [0]
    # What a writer killed half-way would have left.
    (tmp_path / way / "checkpoints" / "2000000.orbax-checkpoint-tmp").mkdir()
    with (tmp_path / way / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2, "st')
    assert_goes_on_as_if_nothing_happened(tmp_path / way, wholes / way)
    assert not list((tmp_path / way / "checkpoints").glob("*tmp*"))


def test_sigterm_within_an_epoch_saves_and_exits_0(tmp_path, wholes):
    process = start(tmp_path / "run")
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "stopped by SIGTERM after epoch 1, step" in output
    assert "continue with: vitreous toy --resume" in output
    assert Run.open(tmp_path / "run").checkpoints.latest().step > 0, "within the epoch"
    assert_goes_on_as_if_nothing_happened(tmp_path / "run", wholes / "resident")


# An epoch has 4 blocks: stop within it, at its last block, and after it.
@pytest.mark.parametrize(
    "kind, block, at",
    [(signal.SIGTERM, 2, (0, 12)), (signal.SIGUSR1, 3, (0, 13)), (signal.SIGTERM, 4, (1, 4))],
)
def test_signals_in_process(run_toy, assert_same, monkeypatch, tmp_path, wholes, kind, block, at):
    record, seen = MetricsLog.record, []

    def signalling(self, epoch, step, *rest):
        record(self, epoch, step, *rest)
        seen.append(step)
        if len(seen) == block:
            os.kill(os.getpid(), kind)

    before = signal.getsignal(kind)
    whole = run_toy(wholes / "toy", count=100, epochs=3)
    monkeypatch.setattr(MetricsLog, "record", signalling)
    with pytest.raises(Interrupted, match=kind.name):
        run_toy("parts", count=100, epochs=3)
    assert signal.getsignal(kind) == before
    last = Run.open(tmp_path / "parts").checkpoints.latest()
    assert (last.epoch, last.step) == at
    parts = run_toy("parts", count=100, epochs=3)
    assert_same(whole, parts)
    run = Run.open(tmp_path / "parts")
    assert [p.step for p in run.checkpoints.positions()] == [0, 0, 0]
    entries = run.metrics()
    assert [e["step"] for e in entries if "epoch_mean" not in e] == [
        13 * epoch + step for epoch in range(3) for step in (4, 8, 12, 13)
    ]
    assert [e["epoch"] for e in entries if "epoch_mean" in e] == [1, 2, 3]


def test_a_half_deleted_checkpoint_is_not_picked(run_toy, assert_same, tmp_path):
    whole = run_toy(epochs=2)
    folder = tmp_path / "run" / "checkpoints"
    # What a deletion that was killed leaves, under any name it may have had.
    shutil.rmtree(folder / "2000000" / "position")
    shutil.copytree(folder / "1000000", folder / "1500000.orbax-checkpoint-tmp-deleted")
    assert Run.open(tmp_path / "run").epochs() == [1]
    assert_same(run_toy(epochs=2), whole)
    assert sorted(path.name for path in folder.iterdir()) == ["1000000", "2000000"]


def test_another_batch_size_goes_on_after_an_epoch(run_toy, tmp_path):
    run_toy(epochs=2, batch_size=8)
    # Fewer steps an epoch: the newest checkpoint is the one of the last epoch all the same.
    run_toy(epochs=3, batch_size=23)
    run = Run.open(tmp_path / "run")
    assert run.epochs() == [1, 2, 3]
    assert run.checkpoints.latest().steps == 2
    assert [e["epoch"] for e in run.metrics() if "epoch_mean" in e] == [1, 2, 3]


def test_ctrl_c_leaves_the_last_checkpoint(run_toy, assert_same, monkeypatch, tmp_path):
    class Stopping(ToyMethod):
        def end_of_epoch(self, state, epoch):
            if epoch == 2:
                raise KeyboardInterrupt
            return state

    with pytest.raises(KeyboardInterrupt):
        run_toy(method=Stopping(45, 95), epochs=3)
    assert Run.open(tmp_path / "run").epochs() == [1]
    assert_same(run_toy(epochs=3), run_toy("whole", epochs=3))


def test_steps_go_on_while_a_checkpoint_is_written(run_toy, assert_same, monkeypatch, tmp_path):
    gone_on, write, record = threading.Event(), Checkpoints._write, MetricsLog.record

    def late(self, arrays, position):
        assert position.epoch > 1 or gone_on.wait(30), "the next epoch waited for the checkpoint"
        write(self, arrays, position)

    def telling(self, epoch, *rest):
        if epoch == 2:
            gone_on.set()
        record(self, epoch, *rest)

    monkeypatch.setattr(Checkpoints, "_write", late)
    monkeypatch.setattr(MetricsLog, "record", telling)
    whole = run_toy(epochs=2)
    # The first checkpoint is of its own moment, whatever the steps did meanwhile.
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "2000000")
    assert_same(run_toy(epochs=2), whole)


def test_a_full_disk_is_seen_before_writing(run_toy, tmp_path, monkeypatch):
    run_toy(epochs=1)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=5000))
    with pytest.raises(InputError, match="0 MiB free; make room and continue with --resume"):
        run_toy(epochs=2)
    assert Run.open(tmp_path / "run").epochs() == [1]


# Orbax's threads call back into a loop that the failure has closed; the disk check before the
# write makes this rare, and nothing depends on it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_write_that_fails_leaves_whole_checkpoints_only(run_toy, tmp_path, capfd):
    run_toy(epochs=1)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Files may not grow beyond 2 kB: as on a full disk, writes fail half-way.
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, limit[1]))
    try:
        with pytest.raises(InputError, match="cannot write"):
            run_toy(epochs=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    run = Run.open(tmp_path / "run")
    assert run.epochs() == [1]
    assert not list((run.path / "checkpoints").glob("*tmp*"))
    run_toy(epochs=2)
    assert Run.open(run.path).epochs() == [1, 2]
    assert "Traceback" not in capfd.readouterr().err


def test_leftovers_still_being_written_are_swept(tmp_path):
    doomed = tmp_path / "1000000.orbax-checkpoint-tmp"
    started = threading.Event()

    def straggle():
        until = time.monotonic() + 0.4
        while time.monotonic() < until:
            # Swept between two calls, a folder is neither there nor to be made.
            with contextlib.suppress(OSError):
                doomed.mkdir(exist_ok=True)
                (doomed / str(time.monotonic_ns())).touch()
            started.set()

    thread = threading.Thread(target=straggle)
    thread.start()
    started.wait()
    Checkpoints(tmp_path).remove_leftovers()
    thread.join()
    assert not doomed.exists()

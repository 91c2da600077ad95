"""Two processes over Gloo give what one gives, and one goes on where two have stopped."""

import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from toy_processes import backproject_toy, compare_toy, evaluate_toy, fit_toy, write_toy_model

from vitreous.errors import InputError
from vitreous.particles import processes
from vitreous.particles.processes import check_same
from vitreous.training.distributed import Vote
from vitreous.training.launching import launch
from vitreous.training.run import Run

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("toy_processes.py")


@pytest.fixture(scope="module")
def of_two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    fit_toy(folder / "begun", "begun", 1, None)
    write_toy_model(folder)
    launch([sys.executable, str(SCRIPT), str(folder)], 2, folder / "logs")
    return folder


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return tmp_path_factory.mktemp("alone")


# float32 sums over a batch in another order, after a few steps of Adam with values below 1.
ROUNDING = 2e-6
# Weights, a table, and the optimiser's count and two moments of each.
LEAVES = 7


def ends(folder: Path) -> list[list[np.ndarray]]:
    """What each process holds at its end."""
    found = []
    for number in range(2):
        with np.load(folder / f"streamed.{number}.npz") as arrays:
            found.append(list(arrays.values()))
    return found


def test_every_process_holds_the_same(of_two):
    for a, b in zip(*ends(of_two), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_backprojection_is_that_of_one(of_two):
    one = backproject_toy()
    # Sums of 45 images in another order; the voxels' own size is about 1.
    volume = ends(of_two)[0][LEAVES]
    np.testing.assert_allclose(volume, one, atol=1e-5 * np.abs(one).max())


def test_a_run_says_the_same_of_new_images(of_two):
    one = evaluate_toy(of_two)
    assert one.shape == (45, 1)
    assert one.std() > 0.1
    np.testing.assert_allclose(ends(of_two)[0][LEAVES + 1], one, atol=ROUNDING)


def test_halves_agree_the_same(of_two):
    one = compare_toy()
    assert one.shape == (2 + 45 + 9,)
    np.testing.assert_allclose(ends(of_two)[0][LEAVES + 2], one, rtol=ROUNDING)


def test_two_processes_equal_one(of_two, alone):
    for way in ("resident", "streamed"):
        one = fit_toy(alone / way, way, 2, None)
        if way == "resident":
            assert Run.open(of_two / way).epochs() == [1]
            # One device goes on with the checkpoint of two.
            two = fit_toy(of_two / way, way, 2, None)
        else:
            two = ends(of_two)[0][:LEAVES]
        for a, b in zip(one, two, strict=True):
            np.testing.assert_allclose(a, b, atol=ROUNDING)
        losses = [
            [entry["loss"] for entry in Run.open(folder / way).metrics()]
            for folder in (alone, of_two)
        ]
        np.testing.assert_allclose(*losses, atol=ROUNDING)


def test_two_processes_go_on_where_one_has_stopped(of_two, alone):
    # What has been fitted already is only read.
    one = fit_toy(alone / "resident", "resident", 2, None)
    two = ends(of_two)[0][LEAVES + 3 :]
    assert len(one) == len(two) == LEAVES
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a, b, atol=ROUNDING)
    assert Run.open(of_two / "begun").epochs() == [1, 2]


def test_the_first_process_alone_writes(of_two):
    names = {path.name for path in (of_two / "streamed").iterdir()}
    assert {"config.yaml", "run.log", "metrics.jsonl", "loss.png", "checkpoints"} <= names
    assert "Traceback" not in (of_two / "logs" / "process.1.log").read_text()


def test_hosts_that_see_different_files_are_told(monkeypatch):
    # As process 1 would answer if its file were another one.
    check_same("particles", b"alone")
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(processes, "of_every_process", lambda mine: [mine, (mine + 1) % 256])
    with pytest.raises(InputError, match="process 1 sees other particles"):
        check_same("particles", b"here")


def test_one_process_need_not_ask_others():
    vote = Vote(None)
    assert [vote(-1), vote(15), vote(-1)] == [-1, 15, -1]

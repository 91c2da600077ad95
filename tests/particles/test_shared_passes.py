"""Two processes with two devices each make of particles what one device alone makes of them."""

import sys
from pathlib import Path

import numpy as np
import pytest
from toy_passes import BOX, COUNT, PIXEL, passes

from vitreous.mrc import read_sections
from vitreous.particles.stack import write_stack
from vitreous.training.launching import launch

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("toy_passes.py")
# Sums of a few dozen numbers in another order, as a share of the largest.
ROUNDING = 2e-6


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the processes have been."""
    folder = tmp_path_factory.mktemp("shared")
    rng = np.random.default_rng(3)
    images = (5 + 2 * rng.normal(size=(COUNT, BOX, BOX))).astype(np.float32)
    write_stack(folder / "noise.mrcs", images, PIXEL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_NUM_CPU_DEVICES", "2")
        launch([sys.executable, str(SCRIPT), str(folder)], 2, folder / "logs")
    return folder


@pytest.fixture(scope="module")
def found(folder):
    """What each process holds at its end."""
    both = []
    for process in range(2):
        with np.load(folder / f"found.{process}.npz") as arrays:
            both.append(dict(arrays))
    return both


def test_the_work_was_shared(found):
    assert [one["devices"].tolist() for one in found] == [[2, 2, 18], [2, 2, 19]]
    np.testing.assert_array_equal(found[0]["rows"], np.arange(COUNT))


def test_every_process_holds_the_same(found):
    for name in set(found[0]) - {"devices"}:
        np.testing.assert_array_equal(found[0][name], found[1][name], err_msg=name)


def test_it_is_what_one_device_makes(folder, found, tmp_path):
    alone = passes(tmp_path, folder / "noise.mrcs")
    for name, values in alone.items():
        scale = max(float(np.abs(values).max()), 1e-6)
        atol = 0 if values.dtype.kind == "i" else ROUNDING * scale
        np.testing.assert_allclose(found[0][name], values, rtol=0, atol=atol, err_msg=name)
    one, two = (read_sections(path / "small.mrcs")[1] for path in (tmp_path, folder / "two"))
    np.testing.assert_allclose(one, two, atol=1e-5)
    # Nothing half-written, and nothing written twice.
    assert [path.name for path in sorted((folder / "two").iterdir())] == ["run", "small.mrcs"]


def test_what_one_finds_wrong_all_say(folder):
    assert "told: image 30 is broken" in (folder / "logs" / "process.1.log").read_text()

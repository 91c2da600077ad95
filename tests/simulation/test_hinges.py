"""The hinged trial molecule: its field of motion against the places of its atoms."""

import jax.numpy as jnp
import numpy as np
import pytest

from vitreous.simulation.hinges import HingeTrial, hinge_set, write_hinge_set

SMALL = HingeTrial(box=16, pixel_size=8.0, count=12, snr=1.0)


@pytest.fixture(scope="module")
def trial():
    """A small trial set."""
    return hinge_set(SMALL)


def test_atoms_move_as_the_study_asks(trial) -> None:
    angle = np.linspace(-25, 25, 101)
    moved = trial.displacement(angle)
    assert np.abs(moved[:, ~trial.moving]).max() == 0
    assert np.sqrt((moved[:, trial.moving] ** 2).sum(-1).mean()) == pytest.approx(5.0, abs=0.3)


def test_the_field_moves_atoms_to_their_places(trial) -> None:
    angle = np.array([-25.0, 0.0, 12.0], np.float32)
    field = np.asarray(trial.field(jnp.asarray(trial.position), jnp.asarray(angle)[:, None]))
    assert np.abs(field[1]).max() == 0
    # Beside the seam the field is shared; everywhere else it is that of one domain.
    off = np.linalg.norm(field - trial.displacement(angle), axis=-1)
    assert off.max() < 0.5
    assert np.sqrt(np.mean(off**2)) < 0.04


def test_files_hold_the_set_in_memory(trial, tmp_path) -> None:
    table = write_hinge_set(tmp_path / "set", SMALL)
    with np.load(tmp_path / "set" / "truth.npz") as truth:
        np.testing.assert_array_equal(truth["t"], trial.angle)
    np.testing.assert_array_equal(table.half_set, trial.table.half_set)
    np.testing.assert_allclose(table.rotation, trial.table.rotation, atol=1e-5)

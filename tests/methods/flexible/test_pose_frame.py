"""What goes with the conformation is no error of a pose, and what does not is."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vitreous.methods.flexible.pose_frame import without_motion

COUNT = 400


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def _set(rng):
    """Poses, latents, errors that know nothing of these, and what motion would be taken for."""
    rotation = Rotation.random(COUNT, random_state=rng).as_matrix()
    z, errors = rng.normal(size=(COUNT, 2)), rng.normal(size=(COUNT, 5))
    # In the molecule's frame, bent as a hinge's frame is: by the latent and by its square.
    told = np.stack([np.ones(COUNT), z[:, 0], z[:, 0] ** 2], axis=1)
    turn = told @ rng.normal(size=(3, 3)) * 3
    seen = np.pad(np.einsum("mij,mj->mi", rotation, turn), ((0, 0), (0, 2)))
    return rotation, z, errors, seen


def _rms(x):
    return float(np.sqrt(np.mean(x**2)))


def test_motion_is_taken_out_and_errors_stay(rng):
    rotation, z, errors, seen = _set(rng)
    left = without_motion((errors + seen).astype(np.float32), rotation, z)
    assert _rms(seen[:, :3]) > 3
    # 18 coefficients of 1,200 numbers: they take 1.5 % of errors' power.
    assert _rms((left - errors)[:, :3]) < 0.25
    np.testing.assert_array_equal(left[:, 3:], errors[:, 3:].astype(np.float32))


def test_what_was_taken_out_does_not_come_back(rng):
    rotation, z, errors, seen = _set(rng)
    left = without_motion((errors + seen).astype(np.float32), rotation, z)
    again = without_motion(left, rotation, z)
    # But for the ridge.
    assert _rms(again - left) < 0.01 * _rms(seen)

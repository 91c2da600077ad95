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
    z = rng.normal(size=(COUNT, 2))
    errors = np.concatenate([rng.normal(size=(COUNT, 3)), rng.normal(size=(COUNT, 2))], axis=1)
    # In the molecule's frame, bent as a hinge's frame is: by the latent and by its square.
    told = np.stack([np.ones(COUNT), z[:, 0], z[:, 0] ** 2], axis=1)
    turn, move = (told @ rng.normal(size=(3, 3)) * 3 for _ in range(2))
    seen = np.concatenate(
        [
            np.einsum("mij,mj->mi", rotation, turn),
            np.einsum("mij,mj->mi", rotation, move)[:, :2],
        ],
        axis=1,
    )
    return rotation, z, errors, seen


def _rms(x):
    return float(np.sqrt(np.mean(x**2)))


def test_motion_is_taken_out_and_errors_stay(rng):
    rotation, z, errors, seen = _set(rng)
    left = without_motion((errors + seen).astype(np.float32), rotation, z)
    assert _rms(seen[:, :3]) > 3
    assert _rms(seen[:, 3:]) > 3
    # 18 coefficients of 1,200 and of 800 numbers: they take 1.5 and 2.3 % of errors' power.
    assert _rms((left - errors)[:, :3]) < 0.25
    assert _rms((left - errors)[:, 3:]) < 0.25


def test_what_was_taken_out_does_not_come_back(rng):
    rotation, z, errors, seen = _set(rng)
    left = without_motion((errors + seen).astype(np.float32), rotation, z)
    again = without_motion(left, rotation, z)
    # But for the ridge.
    assert _rms(again - left) < 0.01 * _rms(seen)

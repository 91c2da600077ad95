"""Pose errors: the global freedom costs nothing, everything else is measured."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vitreous.metrics import pose_errors
from vitreous.metrics.pose_error import MIRROR, mean_rotation


def rotations(n, seed=0):
    return Rotation.random(n, random_state=seed).as_matrix()


@pytest.mark.parametrize("is_mirrored", [False, True])
def test_a_turned_moved_or_mirrored_volume_has_no_error(is_mirrored):
    truth, turn = rotations(50), rotations(1, seed=1)[0]
    origin = np.array([3.0, -2.0, 5.0])
    shift = np.random.default_rng(2).standard_normal((50, 2))
    estimate = truth @ turn.T
    if is_mirrored:
        estimate = MIRROR @ estimate @ MIRROR
    moved = shift + (truth @ origin)[:, :2]
    errors = pose_errors(estimate, truth, moved, shift)
    assert errors.is_mirrored == is_mirrored
    assert errors.angle.max() < 1e-6
    assert errors.shift is not None
    assert errors.shift.max() < 1e-9
    np.testing.assert_allclose(errors.origin, origin)
    np.testing.assert_allclose(errors.rotation, turn, atol=1e-9)


def test_known_errors_survive_lost_images():
    truth, turn = rotations(200), rotations(1, seed=3)[0]
    axes = np.random.default_rng(4).standard_normal((200, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    wobble = Rotation.from_rotvec(np.deg2rad(4) * axes).as_matrix()
    estimate = wobble @ truth @ turn.T
    estimate[:60] = rotations(60, seed=5)  # a third of the images are lost
    errors = pose_errors(estimate, truth)
    assert errors.shift is None
    # Each kept image is off by 4° in a random direction; the mean of 140 leaves about 4/√140.
    assert np.median(errors.angle[60:]) == pytest.approx(4, abs=0.3)
    assert np.median(errors.angle[:60]) > 60


def test_mean_rotation_of_symmetric_errors_is_the_middle():
    middle = rotations(1)[0]
    steps = Rotation.from_rotvec(np.deg2rad([[10.0, 0, 0], [-10, 0, 0], [0, 0, 5], [0, 0, -5]]))
    np.testing.assert_allclose(mean_rotation(middle @ steps.as_matrix()), middle, atol=1e-12)

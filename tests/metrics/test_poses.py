"""Pose errors: the global freedom costs nothing, everything else is measured."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vitreous.geometry.hand import MIRROR
from vitreous.geometry.point_groups import point_group
from vitreous.metrics import pose_errors
from vitreous.metrics.poses import mean_rotation, swing_and_twist


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


def wobbled(truth, degrees, seed):
    """Poses off by an angle about random axes."""
    axes = np.random.default_rng(seed).standard_normal((len(truth), 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    return Rotation.from_rotvec(np.deg2rad(degrees) * axes).as_matrix() @ truth


def test_two_thirds_lost_in_a_second_crowd_do_not_take_the_alignment():
    """A wide crowd of the majority must not outvote the narrow one that is right."""
    truth, turn, other = rotations(600), rotations(1, seed=3)[0], rotations(1, seed=8)[0]
    estimate = wobbled(truth, 3, 1) @ turn.T
    estimate[:330] = wobbled(truth[:330], 60, 2) @ other.T
    errors = pose_errors(estimate, truth)
    assert np.median(errors.angle[330:]) == pytest.approx(3, abs=0.3)
    summary = errors.summary()
    assert summary.images == 600
    assert 0.45 <= summary.share_within_10 <= 0.5
    assert summary.share_beyond_90 > 0.1
    assert summary.median > 20


@pytest.mark.parametrize(("symmetry", "order"), [("C3", 3), ("D4", 8), ("T", 12)])
@pytest.mark.parametrize("is_mirrored", [False, True])
def test_symmetric_copies_are_no_errors(symmetry, order, is_mirrored):
    truth, turn = rotations(90), rotations(1, seed=3)[0]
    group = point_group(symmetry)
    assert len(group) == order
    taken = np.random.default_rng(1).integers(0, order, 90)
    taken[:40] = 1
    seen = truth @ group[taken]
    shift = np.random.default_rng(2).standard_normal((90, 2))
    origin = np.array([0.0, 0.0, 4.0])
    moved = shift + (seen @ origin)[:, :2]
    estimate = seen @ turn.T
    if is_mirrored:
        estimate = MIRROR @ estimate @ MIRROR
    errors = pose_errors(estimate, truth, moved, shift, symmetry)
    assert errors.angle.max() < 1e-6
    assert errors.shift.max() < 1e-8
    # The copy most images sit in is called the first, and each image's own follows from it.
    assert (errors.copy[:40] == 0).all()
    assert (errors.copy == 0).sum() == np.bincount(taken).max()
    assert pose_errors(estimate, truth).angle.mean() > 10


def test_the_angle_splits_into_beam_and_turn_about_it():
    truth = rotations(40)
    tipped = Rotation.from_euler("x", 6, degrees=True).as_matrix()
    turned = Rotation.from_euler("z", 8, degrees=True).as_matrix()
    swing, twist = swing_and_twist(np.stack([tipped, turned, tipped @ turned]))
    np.testing.assert_allclose(swing, [6, 0, 6], atol=1e-9)
    np.testing.assert_allclose(twist, [0, 8, 8], atol=1e-9)
    # Half of the images carry the error, so that no global rotation explains it away.
    estimate = truth.copy()
    estimate[:15] = tipped @ turned @ truth[:15]
    errors = pose_errors(estimate, truth)
    np.testing.assert_allclose(errors.out_of_plane[:15], 6, atol=1e-4)
    np.testing.assert_allclose(errors.in_plane[:15], 8, atol=1e-4)
    np.testing.assert_allclose(errors.angle[:15], np.hypot(6, 8), atol=0.02)


def test_wrong_shifts_do_not_drag_the_origin():
    truth = rotations(100)
    origin = np.array([2.0, -3.0, 1.0])
    shift = np.zeros((100, 2))
    moved = (truth @ origin)[:, :2]
    moved[:30] += 40.0
    errors = pose_errors(truth, truth, moved, shift)
    assert errors.shift[30:].max() < 1e-6
    np.testing.assert_allclose(errors.shift[:30], 40 * np.sqrt(2), rtol=1e-6)


def test_one_pose_is_always_right_and_none_is_refused():
    assert pose_errors(rotations(1), rotations(1, seed=1)).angle.max() < 1e-6
    with pytest.raises(ValueError, match="no poses"):
        pose_errors(np.zeros((0, 3, 3)), np.zeros((0, 3, 3)))

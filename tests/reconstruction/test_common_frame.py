"""Maps share a body and differ in an arm: the body must come to rest, whatever the arm does."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vitreous.reconstruction.common_frame import common_frame
from vitreous.reconstruction.volume_alignment import Alignment
from vitreous.simulation.blobs import blob_set


@pytest.fixture(scope="module")
def turned():
    """Maps of a hinge, each turned a third of its swing after the arm, and how."""
    hinge = blob_set("hinge", 1)
    angles = (0.0, -45.0, -20.0, 25.0, 50.0)
    turns = Rotation.from_euler("z", [[-a / 3] for a in angles], degrees=True).as_matrix()
    moves = np.array([[0, 0, 0], [0.8, 0, 0.3], [0, 0.5, 0], [-0.6, 0.4, 0], [0, 0, -0.7]])
    maps = [
        Alignment(turn, move, False, 1.0).apply(hinge.volume(a))
        for a, turn, move in zip(angles, turns, moves, strict=True)
    ]
    return np.stack(maps).astype(np.float32), turns, moves


def _off(frames, turns) -> np.ndarray:
    left = frames @ turns
    return np.rad2deg(Rotation.from_matrix(left[0].T @ left).magnitude())


def test_the_body_comes_to_rest(turned):
    maps, turns, moves = turned
    before = _off(np.tile(np.eye(3), (len(maps), 1, 1)), turns)
    frames = common_frame(maps)
    after = _off(frames.rotation, turns)
    assert before.max() > 16
    assert after.max() < 3
    # x ↦ G (T x + m) + u: the body's centre ends where that of the first map lies.
    centre = np.einsum("kij,kj->ki", frames.rotation, moves) + frames.shift
    assert np.linalg.norm(centre - centre[0], axis=1).max() < 0.4


def test_the_first_map_stays(turned):
    frames = common_frame(turned[0][:2], ((1.0, 0.1, 5),))
    np.testing.assert_allclose(frames.rotation[0], np.eye(3), atol=1e-6)
    np.testing.assert_allclose(frames.shift[0], 0, atol=1e-6)

"""Maps in any frame and of either hand are laid where the body of all of them rests."""

import numpy as np
from scipy.spatial.transform import Rotation

from vitreous.reconstruction.linked_maps import after, inverse, linked_places
from vitreous.reconstruction.volume_alignment import Alignment
from vitreous.simulation.blobs import blob_set

ANGLES = (60.0, 20.0, -20.0, -60.0)
MIRRORED = (False, True, False, True)


def test_maps_in_any_frame_and_of_either_hand_come_together():
    hinge = blob_set("hinge", 1, box=24)
    turns = Rotation.random(len(ANGLES), rng=4).as_matrix()
    rng = np.random.default_rng(0)
    maps = []
    for angle, turn, is_mirrored in zip(ANGLES, turns, MIRRORED, strict=True):
        way = Alignment(turn, np.array([0.5, 0.0, -0.8]), is_mirrored, 1.0)
        clean = way.apply(hinge.volume(angle))
        noise = rng.normal(scale=0.3 * clean.std(), size=clean.shape)
        maps.append((clean + noise).astype(np.float32))
    places = linked_places(np.stack(maps))
    assert [place.is_mirrored for place in places] == list(MIRRORED)

    def off(place: Alignment, k: int) -> float:
        """How far the body of a map ends from that of the first, in degrees."""
        begun = Alignment(turns[k], np.zeros(3), MIRRORED[k], 1.0)
        ends = after(begun, place).rotation @ turns[0].T
        return float(np.rad2deg(Rotation.from_matrix(ends).magnitude()))

    # A chain of links that follow the arm would end 97° off.
    assert max(off(place, k) for k, place in enumerate(places)) < 60


def test_alignments_are_undone_and_joined():
    rng = np.random.default_rng(1)
    rotations = Rotation.random(2, rng=2).as_matrix()
    one = Alignment(rotations[0], rng.normal(size=3), True, 0.9)
    two = Alignment(rotations[1], rng.normal(size=3), False, 0.8)
    still = after(one, inverse(one))
    np.testing.assert_allclose(still.rotation, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(still.shift, 0, atol=1e-12)
    assert not still.is_mirrored
    poses = Rotation.random(3, rng=3).as_matrix()
    shift = rng.normal(size=(3, 2))
    steps = two.poses(*one.poses(poses, shift))
    for mine, theirs in zip(after(one, two).poses(poses, shift), steps, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-12)

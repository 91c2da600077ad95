"""Maps laid onto each other: turned, shifted and mirrored copies with closed forms come back."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vitreous.cli.main import main
from vitreous.geometry.rotations import geodesic_distance
from vitreous.maps import read_map, write_map
from vitreous.metrics import pose_errors
from vitreous.reconstruction.volume_alignment import Alignment, align_volumes

BOX = 24
MIRROR = np.diag([1.0, 1.0, -1.0])


def blobs(rotation=np.eye(3), shift=(0.0, 0.0, 0.0), is_mirrored=False):
    """A lopsided cloud of Gaussians, moved in closed form: no interpolation to hide behind."""
    rng = np.random.default_rng(3)
    centres = np.cumsum(rng.standard_normal((14, 3)), axis=0)
    centres = 5 * (centres - centres.mean(axis=0)) / np.abs(centres).max()
    centres = centres @ (MIRROR if is_mirrored else np.eye(3)) @ rotation.T + shift
    axis = np.arange(BOX) - BOX // 2
    bells = np.exp(-((axis - centres[:, :, None]) ** 2) / (2 * 1.3**2))
    weights = rng.uniform(0.6, 1.4, 14)
    volume = np.einsum("b,bz,by,bx->zyx", weights, bells[:, 2], bells[:, 1], bells[:, 0])
    return volume.astype(np.float32)


@pytest.mark.parametrize("is_mirrored", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_moved_copy_is_laid_back_exactly(is_mirrored, seed):
    rotation = Rotation.random(random_state=seed).as_matrix()
    shift = np.random.default_rng(seed).uniform(-3, 3, 3)
    fixed = blobs(rotation, shift, is_mirrored)
    found = align_volumes(blobs(), fixed, voxel_size=2.5)
    assert found.is_mirrored == is_mirrored
    assert geodesic_distance(found.rotation[None], rotation[None])[0] < 0.1
    np.testing.assert_allclose(found.shift / 2.5, shift, atol=0.05)
    assert found.correlation > 0.99
    moved = found.apply(blobs(), voxel_size=2.5)
    # What is left is the interpolation of a sixth of the box's detail.
    assert np.corrcoef(moved.ravel(), fixed.ravel())[0, 1] > 0.999


def test_noise_as_strong_as_the_map_costs_little():
    rotation = Rotation.random(random_state=5).as_matrix()
    fixed = blobs(rotation, (1.0, -2.0, 0.5))
    noise = np.random.default_rng(0).standard_normal(fixed.shape).astype(np.float32)
    found = align_volumes(blobs(), 1e6 * (fixed + fixed.std() * noise))
    assert not found.is_mirrored
    assert geodesic_distance(found.rotation[None], rotation[None])[0] < 3
    np.testing.assert_allclose(found.shift, (1.0, -2.0, 0.5), atol=0.2)


def test_one_hand_is_all_that_is_tried_when_told():
    found = align_volumes(blobs(), blobs(is_mirrored=True), hands=(False,))
    assert not found.is_mirrored
    assert found.correlation < 0.98


@pytest.mark.parametrize("is_mirrored", [False, True])
def test_poses_follow_their_map(is_mirrored):
    """An atom seen by an image of the moving map is seen at the same place in the fixed one."""
    rotation = Rotation.random(random_state=2).as_matrix()
    found = Alignment(rotation, np.array([3.0, -1.0, 2.0]), is_mirrored, 1.0)
    poses = Rotation.random(20, random_state=4).as_matrix()
    shifts = np.random.default_rng(1).standard_normal((20, 2))
    turned, moved = found.poses(poses, shifts)
    atom = np.array([4.0, 5.0, 6.0])
    there = rotation @ (MIRROR if is_mirrored else np.eye(3)) @ atom + found.shift
    seen = (poses @ atom)[:, :2] + shifts
    np.testing.assert_allclose((turned @ there)[:, :2] + moved, seen, atol=1e-9)
    errors = pose_errors(poses, turned, shifts, moved)
    assert errors.is_mirrored == is_mirrored
    assert errors.angle.max() < 1e-6
    np.testing.assert_allclose(errors.rotation, rotation.T, atol=1e-9)


def test_the_command_lays_a_file_onto_another(tmp_path, capsys):
    rotation = Rotation.random(random_state=3).as_matrix()
    write_map(tmp_path / "a.mrc", blobs(), 2.5)
    write_map(tmp_path / "b.mrc", blobs(rotation, (1.5, 0.0, -1.0), is_mirrored=True), 2.5)
    words = ["align", tmp_path / "a.mrc", tmp_path / "b.mrc", "-o", tmp_path / "c.mrc"]
    main([str(word) for word in words])
    told = capsys.readouterr().out
    assert "mirrored" in told
    moved, fixed = (read_map(tmp_path / f"{name}.mrc") for name in "cb")
    assert moved.voxel_size == pytest.approx(2.5)
    assert np.corrcoef(moved.data.ravel(), fixed.data.ravel())[0, 1] > 0.999
    shift = [float(x) for x in told.split("shift ")[1].split(" Å")[0].split(",")]
    np.testing.assert_allclose(shift, (3.75, 0.0, -2.5), atol=0.1)
    write_map(tmp_path / "d.mrc", blobs(), 3.0)
    with pytest.raises(SystemExit, match="2"):
        main([str(word) for word in [*words[:2], tmp_path / "d.mrc", *words[3:]]])
    assert ": 3" in capsys.readouterr().err


def test_maps_that_cannot_be_compared_are_refused():
    with pytest.raises(ValueError, match="one box"):
        align_volumes(blobs(), np.zeros((8, 8, 8), np.float32))
    with pytest.raises(ValueError, match="without any density"):
        align_volumes(blobs(), np.zeros_like(blobs()))

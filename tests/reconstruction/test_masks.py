import numpy as np
import pytest

from vitreous.reconstruction.masks import automatic_threshold, mask_from_map, spherical_mask


@pytest.mark.parametrize("box", [40, 41])
def test_a_spherical_mask_is_a_sphere(box):
    radius = 13.0
    mask = spherical_mask(box, radius)
    assert mask.sum() == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.01)
    np.testing.assert_array_equal(mask, mask.transpose(1, 2, 0))
    c = box // 2
    # A cylinder would reach the end of the box along z.
    assert mask[c, c, c + 13] == 1
    assert mask[c + 14, c, c] == mask[c, c + 14, c] == mask[c, c, c + 14] == 0


def test_the_edge_falls_along_half_a_cosine():
    mask = spherical_mask(32, 6.0, 4.0)
    line = mask[16, 16, 16:]
    expected = 0.5 + 0.5 * np.cos(np.pi * np.arange(5) / 4)
    np.testing.assert_allclose(line[6:11], expected, atol=1e-6)
    assert (np.diff(line) <= 0).all()


def test_a_map_mask_grows_a_point_into_a_ball_with_an_edge_in_angstrom():
    volume = np.zeros((32, 32, 32), np.float32)
    volume[16, 16, 16] = 1
    mask = mask_from_map(volume, voxel_size=2.0, threshold=0.5, dilate=8.0, soft_edge=6.0)
    # 8 Å are 4 voxels; half of the edge lies at 4 + 1.5 voxels.
    np.testing.assert_allclose(mask, spherical_mask(32, 4.0, 3.0), atol=1e-6)


def test_the_automatic_threshold_is_half_of_what_a_few_hot_voxels_cannot_move():
    volume = np.zeros((40, 40, 40), np.float32)
    volume[10:30, 10:30, 10:30] = 1
    volume[0, 0, 0] = 50
    assert automatic_threshold(volume) == pytest.approx(0.5)
    assert mask_from_map(volume, 1.0, None, 0.0, 0.0).sum() == 20**3 + 1


def test_a_map_below_the_threshold_gives_an_empty_mask():
    assert not mask_from_map(np.zeros((8, 8, 8), np.float32), 1.0, threshold=1.0).any()


def test_the_peers_toy_model_has_its_threshold(shared_data):
    from vitreous.particles import read_map

    toy = read_map(shared_data / "interop" / "toymodel_small_nocenter.mrc", pixel_size=1.0)
    assert automatic_threshold(toy.data) == pytest.approx(0.5)

"""Pictures of maps whose picture is known: a ball is a disc, left is left, near hides far."""

import numpy as np
import pytest
from toy_landscape import ball, toy_volume

from vitreous.analysis.mobility import mobility
from vitreous.analysis.pictures import encode, montage, over, projection
from vitreous.analysis.rasterise import rasterise
from vitreous.analysis.rendering import IVORY, render_surface, without_dust
from vitreous.analysis.view import View, choose_view, full_box, surface_level


def test_a_triangle_is_filled_at_its_depth():
    corners = np.array([[[2.0, 2, 1], [12, 2, 1], [2, 12, 6]]])
    values = np.array([[[0.0], [10], [0]]], np.float32)
    depth, picture = rasterise(corners, values, 16)
    assert np.isfinite(depth).sum() == 11 * 12 / 2  # pixels with x − 2 + y − 2 <= 10
    np.testing.assert_allclose(depth[2, 2:13], 1)
    np.testing.assert_allclose(depth[12, 2], 6, atol=1e-6)
    np.testing.assert_allclose(picture[2, 2:13, 0], np.arange(11), atol=1e-5)
    assert not np.isfinite(depth[13:]).any()


def test_the_nearer_triangle_hides_the_other_in_either_order():
    square = np.array([[2.0, 2], [9, 2], [2, 9]])
    corners = np.stack([np.c_[square, np.full(3, d)] for d in (5.0, 3.0)])
    values = np.array([[[1.0]] * 3, [[2.0]] * 3], np.float32)
    for order in ([0, 1], [1, 0]):
        depth, picture = rasterise(corners[order], values[order], 12)
        assert depth[3, 3] == 3
        assert picture[3, 3, 0] == 2


def test_triangles_outside_the_picture_or_without_area_draw_nothing():
    corners = np.array([[[-9.0, -9, 0], [-5, -9, 0], [-9, -5, 0]], [[1.0, 1, 0]] * 3])
    depth, _ = rasterise(corners, np.zeros((2, 3, 1), np.float32), 8)
    assert not np.isfinite(depth).any()


@pytest.mark.parametrize("turn", [0.0, 37.0])
def test_a_ball_is_a_disc_of_its_radius(turn):
    sigma, level = 3.0, 0.5
    radius = sigma * np.sqrt(2 * np.log(2))  # where the Gaussian falls to one half, voxels
    view = full_box(level).turned(turn)
    alpha = render_surface(ball(0, 0, 0, sigma, box=32), view, size=128)[..., 3] / 255.0
    # Area tells the radius well below a pixel; four pixels are one voxel here.
    assert np.sqrt(alpha.sum() / np.pi) / 4 == pytest.approx(radius, rel=0.01)
    y, x = np.indices(alpha.shape)
    centre = [(alpha * c).sum() / alpha.sum() for c in (x, y)]
    # Voxel n // 2 lies in the middle of the picture.
    np.testing.assert_allclose(centre, [63.5, 63.5], atol=0.3)


def test_columns_are_x_rows_are_y_and_the_beam_runs_inwards():
    view = full_box(0.5)
    alpha = render_surface(ball(6, 3, 0), view, size=48)[..., 3]
    y, x = (np.mean(w) for w in np.nonzero(alpha))
    np.testing.assert_allclose([x, y], [24 + 2 * 6, 24 + 2 * 3], atol=1)
    # Of two balls one behind the other, the one at smaller z is seen.
    volume = ball(0, 0, -6, 2.0) + ball(0, 0, 6, 3.5)
    tint = np.zeros_like(volume)
    tint[:12] = 1
    seen = render_surface(volume, view, 48, tint, color=(1.0, 0.0, 0.0), accent=(0.0, 0.0, 1.0))
    assert seen[24, 24, 2] > seen[24, 24, 0]
    back = View(0.5, np.diag([1.0, -1, -1]), np.zeros(3))
    seen = render_surface(volume, back, 48, tint, color=(1.0, 0.0, 0.0), accent=(0.0, 0.0, 1.0))
    assert seen[24, 24, 0] > seen[24, 24, 2]


def test_light_comes_from_the_upper_left():
    picture = render_surface(ball(0, 0, 0, 4), full_box(0.3), size=96).astype(int)
    assert picture[36, 36, :3].sum() > picture[60, 60, :3].sum() + 40


def test_a_map_below_the_level_or_filling_the_box_is_no_fault():
    assert not render_surface(ball(0, 0, 0), full_box(2.0), size=32).any()
    full = render_surface(np.ones((8, 8, 8), np.float32), full_box(0.5), size=32)
    assert (full[..., 3] == 255).mean() > 0.8  # closed at the faces of the box


def test_dust_is_swept():
    volume = ball(0, 0, 0) + ball(9, 9, 9, 0.5)
    swept = without_dust(volume, 0.4)
    assert volume[21, 21, 21] > 0.4 > swept[21, 21, 21]
    assert swept[12, 12, 12] == volume[12, 12, 12]


def test_the_level_lies_between_solvent_and_molecule():
    rng = np.random.default_rng(0)
    noise = 0.02 * rng.standard_normal((24, 24, 24)).astype(np.float32)
    level = surface_level([ball(0, 0, 0) + noise])
    assert 0.08 < level < 0.5


def test_the_view_shows_the_motion_and_the_tint_marks_it():
    # The second ball moves along x: the view must not look along x.
    volumes = [toy_volume([x]) for x in (-2.0, -1.0, 0.0, 1.0, 2.0)]
    view = choose_view(volumes)
    assert abs(view.rotation[2, 0]) < 0.4
    np.testing.assert_allclose(view.rotation @ view.rotation.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(view.rotation) == pytest.approx(1)
    moving = mobility(volumes, view.level)
    assert moving[12, 9, 8] == 0  # in the still ball
    assert moving[12, 15, 21] > 0.5  # where the other one comes at one end of its way
    for volume in volumes:
        alpha = render_surface(volume, view, size=64)[..., 3]
        assert not alpha[[0, -1]].any()
        assert not alpha[:, [0, -1]].any()


def test_projections_and_small_pictures():
    volume = ball(5, -3, 2)
    for axis, place in enumerate([(9, 17), (14, 17), (14, 9)]):
        flat = projection(volume, axis)
        assert np.unravel_index(flat.argmax(), flat.shape) == place
    assert projection(volume, 0, "max").dtype == np.uint8
    clear = np.zeros((2, 3, 4), np.uint8)
    np.testing.assert_array_equal(over(clear, (1, 2, 3)), np.broadcast_to([1, 2, 3], (2, 3, 3)))
    assert montage([clear] * 5, 2).shape == (6, 6, 4)
    assert encode(clear)[1:4] == b"PNG"
    assert max(IVORY) <= 1

"""Tilt pairs: two images of a particle, the stage turned about x between them."""

import numpy as np
import pytest

from vitreous.errors import InputError
from vitreous.geometry.rotations import euler_to_matrix
from vitreous.particles import read_particles, save_pose_pickle, write_stack

COUNT, BOX, PIXEL = 5, 8, 2.0


@pytest.fixture
def pair(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("untilted", "tilted"):
        images = rng.normal(size=(COUNT, BOX, BOX)).astype(np.float32)
        write_stack(tmp_path / f"{name}.mrcs", images, PIXEL)
    rotation = euler_to_matrix(rng.uniform(0, 180, (COUNT, 3))).astype(np.float32)
    shift = rng.normal(size=(COUNT, 2)).astype(np.float32)
    save_pose_pickle(tmp_path / "poses.pkl", rotation, shift, np.full(COUNT, BOX * PIXEL))
    return tmp_path, rotation, shift


def read(folder, **given):
    return read_particles(
        folder / "untilted.mrcs",
        poses=folder / "poses.pkl",
        tilted=folder / "tilted.mrcs",
        **given,
    )


def test_the_second_image_sees_the_particle_from_the_turned_stage(pair):
    folder, rotation, shift = pair
    table = read(folder, tilt_angle=30.0)
    assert len(table) == 2 * COUNT
    np.testing.assert_array_equal(table.particle, np.tile(np.arange(COUNT), 2))
    np.testing.assert_allclose(table.rotation[:COUNT], rotation, atol=1e-6)
    c, s = np.cos(np.pi / 6), np.sin(np.pi / 6)
    about_x = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    np.testing.assert_allclose(table.rotation[COUNT:], about_x @ rotation, atol=1e-6)
    np.testing.assert_allclose(table.shift, np.tile(shift, (2, 1)), atol=1e-5)
    names = [table.stacks[i].rsplit("/", 1)[-1] for i in table.stack_id]
    assert names == ["untilted.mrcs"] * COUNT + ["tilted.mrcs"] * COUNT
    np.testing.assert_array_equal(table.image_index, np.tile(np.arange(COUNT), 2))


def test_selected_rows_keep_both_images(pair):
    table = read(pair[0], ind=[3, 1])
    assert len(table) == 4
    np.testing.assert_array_equal(table.image_index, [3, 1, 3, 1])
    np.testing.assert_array_equal(table.particle, [0, 1, 0, 1])


def test_a_pair_needs_as_many_images(pair):
    folder, *_ = pair
    write_stack(folder / "tilted.mrcs", np.zeros((3, BOX, BOX), np.float32), PIXEL)
    with pytest.raises(InputError, match="3 tilted images for the 5 particles"):
        read(folder)

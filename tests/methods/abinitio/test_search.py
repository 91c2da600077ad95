"""Poses found by search, from images alone; and what keeps it honest."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from vitreous.errors import InputError
from vitreous.methods.abinitio.beginning import check_images
from vitreous.methods.abinitio.config import AbinitioConfig, config_from_dict, config_to_dict
from vitreous.methods.abinitio.halves import Halves
from vitreous.methods.abinitio.low_resolution import Estimate
from vitreous.methods.abinitio.progress import Progress, load_progress, save_progress
from vitreous.methods.abinitio.reference import MapSums
from vitreous.methods.abinitio.search import shows_dark
from vitreous.methods.abinitio.verdict import judge
from vitreous.reconstruction.pose_refinement import Poses
from vitreous.simulation.blobs import blob_set


def test_half_maps_that_agree_only_where_they_began_are_not_believed():
    noise = np.r_[np.ones(4), 0.05 * np.ones(8)]
    assert not judge(noise, rests=True)[0]
    signal = np.r_[np.ones(8), np.zeros(4)]
    assert judge(signal, rests=True)[0]
    assert not judge(signal, rests=False)[0]
    assert "still move" in judge(signal, rests=False)[1]


def test_dark_maps_show():
    volume = np.zeros((1, 8, 8, 8), np.float32)
    volume[0, 3:5, 3:5, 3:5] = 1
    assert not shows_dark(jnp.asarray(volume))
    assert shows_dark(jnp.asarray(-volume))


def test_progress_comes_back_whole(tmp_path):
    rng = np.random.default_rng(0)

    def some(*shape):
        return rng.normal(size=shape).astype(np.float32)

    sums = MapSums(jnp.asarray(some(2, 1, 4, 4, 3) + 1j * some(2, 1, 4, 4, 3)), jnp.ones((2, 1)))
    poses = Poses(some(5, 3, 3, 3), some(5, 3, 2), np.zeros((5, 3), np.int32), some(5, 3))
    halves = Halves(
        jnp.asarray(some(2, 1, 4, 4, 4)), jnp.ones(3), some(3), sums, poses, some(5), 0.25
    )
    best = Estimate(jnp.asarray(some(1, 4, 4, 4)), jnp.ones(3))
    done = Progress(
        2, best, 1.5, True, halves, halves, 3, 0, True, 4.5, [{"phase": "x", "score": 1.0}]
    )
    file = tmp_path / "search.npz"
    save_progress(file, done)
    back = load_progress(file)
    assert (back.starts, back.score, back.is_dark, back.passes) == (2, 1.5, True, 3)
    assert back.history == done.history
    assert back.reach == 4.5
    assert back.best is not None
    np.testing.assert_array_equal(back.best.volumes, best.volumes)
    for mine in (back.halves, back.agreed):
        np.testing.assert_array_equal(mine.sums.numerator, sums.numerator)
        np.testing.assert_array_equal(mine.poses.rotation, poses.rotation)
        np.testing.assert_array_equal(mine.moved, halves.moved)
        assert mine.edge == 0.25
    save_progress(file, replace(done, halves=None, agreed=None, best=None))
    assert load_progress(file).halves is None


def test_settings_survive_the_run_folder():
    config = AbinitioConfig(strategy="search", zdim=2, symmetry="C3", max_shift=5.0)
    assert config_from_dict(config_to_dict(config)) == config
    earlier = config_to_dict(config)
    earlier["large"] = earlier.pop("search_images")
    assert config_from_dict(earlier) == config


def test_a_handful_of_images_is_refused():
    table = blob_set("rigid", 60, box=16).table
    check_images(table, "set.star")
    with pytest.raises(InputError, match="too few"):
        check_images(table.select(np.arange(9)), "set.star")

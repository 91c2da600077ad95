"""A map that lies off the centre of its images is brought there, and everything with it."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from vitreous.geometry.fourier import half_space
from vitreous.methods.abinitio.centring import centred, origin_of
from vitreous.methods.abinitio.config import AbinitioConfig
from vitreous.methods.abinitio.halves import Halves
from vitreous.methods.abinitio.reference import MapSums
from vitreous.methods.abinitio.strategy import surroundings
from vitreous.particles.loader import PreparedImages
from vitreous.reconstruction.pose_refinement import Poses
from vitreous.reconstruction.volume_alignment import Alignment
from vitreous.simulation.blobs import PIXEL_SIZE, blob_set

OFF = (2, -1, 1)


@pytest.fixture(scope="module")
def blobs():
    return blob_set("rigid", 60, 0.3, 0)


@pytest.fixture(scope="module")
def displaced(blobs):
    """Maps and poses as a search leaves them whose origin is not that of the images."""
    moved = Alignment(np.eye(3), np.asarray(OFF, float), False, 1.0)
    rotation, shift = moved.poses(blobs.rotation, blobs.shift / PIXEL_SIZE)
    volume = moved.apply(np.asarray(blobs.volume()))[None, None]
    columns = (rotation, shift, np.zeros(len(shift), int), np.zeros(len(shift)))
    kinds = (np.float32, np.float32, np.int32, np.float32)
    poses = Poses._make(
        np.repeat(np.asarray(c, kind)[:, None], 2, axis=1)
        for c, kind in zip(columns, kinds, strict=True)
    )
    sums = MapSums(half_space(jnp.asarray(volume)), jnp.ones((1, 1, 32, 32, 17)))
    noise = jnp.ones(16)
    return Halves(jnp.asarray(volume), noise, np.ones(16), sums=sums, poses=poses, edge=1.0)


@pytest.fixture(scope="module")
def setting(blobs):
    data = PreparedImages.build(blobs.table, blobs.source)
    return surroundings(data, AbinitioConfig(), lambda *_: None)


def test_the_origin_of_least_shifts_is_found(displaced):
    poses = displaced.poses
    found = origin_of(poses.rotation[:, 0].astype(float), poses.shift[:, 0])
    # True shifts are up to a pixel each way: their mean over 60 images is not quite 0.
    np.testing.assert_allclose(found, OFF, atol=0.3)


def test_maps_sums_and_poses_go_together(setting, displaced, blobs):
    back = centred(setting, displaced)
    truth = np.asarray(blobs.volume())
    np.testing.assert_allclose(back.volumes[0, 0], truth, atol=2e-3 * truth.max())
    np.testing.assert_allclose(back.poses.shift[:, 0], blobs.shift / PIXEL_SIZE, atol=1e-4)
    there = half_space(jnp.asarray(back.volumes))
    np.testing.assert_allclose(back.sums.numerator, there, atol=1e-3 * np.abs(there).max())
    assert back.edge < 0.1


def test_what_is_centred_stays(setting, displaced):
    back = centred(setting, displaced)
    assert centred(setting, back) is back


def test_the_centre_stays_on_the_axes_of_a_point_group(setting, displaced):
    fourfold = centred(replace(setting, symmetry="C4"), displaced)
    across = jnp.roll(displaced.volumes, -OFF[2], axis=2)
    np.testing.assert_array_equal(fourfold.volumes, across)

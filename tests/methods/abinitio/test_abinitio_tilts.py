"""Tilt series: poses of first images, improved and given their hand by the others."""

from dataclasses import replace

import numpy as np
import pytest

from vitreous.errors import InputError
from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.geometry.hand import mirror, mirror_rotations
from vitreous.geometry.rotations import rotation_vector_to_matrix
from vitreous.methods.abinitio.found import Found
from vitreous.methods.abinitio.setting import Setting
from vitreous.methods.abinitio.tilts import follow_tilts, series_of
from vitreous.metrics.poses import pose_errors
from vitreous.particles.loader import PreparedImages
from vitreous.simulation.blobs import PIXEL_SIZE, blob_set

BOX, PARTICLES, TILTS = 24, 90, (0.0, 35.0, -35.0)


def test_other_images_improve_poses_and_tell_the_hand():
    blobs = blob_set("rigid", PARTICLES, 0.5, box=BOX, tilts=TILTS)
    series = series_of(blobs.table)
    np.testing.assert_array_equal(series.reference, np.arange(PARTICLES) * 3)
    np.testing.assert_array_equal(series.owner, np.arange(3 * PARTICLES) // 3)
    pixels = FourierPixels(BOX, 9)
    data = PreparedImages.build(blobs.table, blobs.source, pixels=pixels)
    told = []
    setting = Setting(data, 9.0, 2.4, 1, "C1", 64, 0, lambda *words: told.append(words))
    first = series.reference
    vectors = np.random.default_rng(0).normal(scale=6 / 3**0.5, size=(PARTICLES, 3))
    off = np.asarray(rotation_vector_to_matrix(vectors))
    # A map that first images have made may be either; this one is the wrong one.
    volume = mirror(blobs.volume()) / data.normalization.fourier_scale(BOX) * PIXEL_SIZE
    found = Found(
        rotation=mirror_rotations((off @ blobs.rotation[first]).astype(np.float32)),
        shift=blobs.shift[first],
        volumes=volume[None].astype(np.float32),
        half_maps=np.stack([volume, volume]).astype(np.float32),
        fsc=np.where(np.arange(10) < 8, 1.0, 0.0),
        latents=None,
        score=np.zeros(PARTICLES),
        converged=True,
        verdict="",
    )
    after = follow_tilts(setting, series, found, zdim=0)
    assert after.hand_margin > 10
    errors = pose_errors(after.rotation, blobs.rotation, after.shift, blobs.shift)
    assert not errors.is_mirrored
    assert np.median(pose_errors(found.rotation, blobs.rotation[first]).angle) > 4
    assert np.median(errors.angle) < 3
    assert np.median(errors.shift) < 0.3 * PIXEL_SIZE
    assert len(after.score) == len(after.rotation) == 3 * PARTICLES
    assert told[-1][0] == "tilts follow"
    kept = follow_tilts(setting, series, found, zdim=0, keep_map=True)
    assert kept.hand_margin < -10
    np.testing.assert_array_equal(kept.volumes, found.volumes)


def test_tilt_images_must_tell_how_they_are_turned():
    table = blob_set("noise", 10, box=16, tilts=TILTS).table
    assert series_of(table.select(np.arange(0, 30, 3))) is None
    assert series_of(replace(table, particle=None, dose=None)) is None
    with pytest.raises(InputError, match=r"30 tilt images of 10 .*--ntilts 1"):
        series_of(replace(table, rotation=None))

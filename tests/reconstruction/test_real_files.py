"""Against the peer's test set and other stored data."""

import jax.numpy as jnp
import numpy as np
import pytest

from vitreous.particles import ImageSource, read_map, read_particles
from vitreous.reconstruction.fsc import fourier_shell_correlation
from vitreous.reconstruction.reconstruct import TiltOptions, apply_tilts, reconstruct


@pytest.fixture(scope="module")
def toy(shared_data):
    folder = shared_data / "interop"
    table = read_particles(
        folder / "toy_projections.mrcs", poses=folder / "toy_rot_zerotrans.pkl", pixel_size=1.0
    )
    truth = read_map(folder / "toymodel_small_nocenter.mrc", pixel_size=1.0).data
    return reconstruct(table, ImageSource(table)), truth


def test_the_toy_set_is_reconstructed_better_than_by_the_peer(toy):
    made, truth = toy
    # The peer reaches 0.95485; any flipped or permuted axis stays below 0.8.
    assert np.corrcoef(made.volume.ravel(), truth.ravel())[0, 1] > 0.97
    flips = [np.flip(truth, axis) for axis in range(3)] + [truth.transpose(0, 2, 1)]
    assert all(np.corrcoef(made.volume.ravel(), f.ravel())[0, 1] < 0.8 for f in flips)


def test_the_toy_sets_half_maps_agree_as_well_as_the_peers(toy):
    made, _ = toy
    halves = (jnp.asarray(half) for half in made.half_maps)
    curve = np.asarray(fourier_shell_correlation(*halves, "cryobench"))
    peer = {3: 0.99964, 7: 0.99736, 11: 0.99339, 14: 0.97999}
    for shell, value in peer.items():
        assert curve[shell] > value - 2e-4, shell


def test_shifts_in_pose_files_are_undone(shared_data, toy):
    folder = shared_data / "interop"
    rotated = read_particles(
        folder / "toy_projections.mrcs", poses=folder / "toy_rot_trans.pkl", pixel_size=1.0
    )
    centred = read_particles(
        folder / "toy_projections.mrcs", poses=folder / "toy_rot_zerotrans.pkl", pixel_size=1.0
    )
    # The stack itself is centred: the shifts of this file belong to other images, so they must
    # move the density apart.
    np.testing.assert_allclose(rotated.rotation, centred.rotation, atol=1e-6)
    made = reconstruct(rotated, ImageSource(rotated))
    assert made.fsc[3] < toy[0].fsc[3]


def test_tilt_series_keep_particles_whole_and_fade_with_dose(shared_data):
    folder = shared_data / "interop"
    table = read_particles(folder / "sta_testing_bin8.star", datadir=folder)
    few = apply_tilts(table, TiltOptions(count=5))
    assert len(few) == 5 * 6
    assert few.dose is not None
    order = np.lexsort((few.dose, few.particle))
    by_particle = few.dose[order].reshape(6, 5)
    # The first tilts exposed are those with the largest scale factor.
    scale = np.asarray(few.ctf.scale)[order].reshape(6, 5)
    assert (np.diff(by_particle, axis=1) >= 0).all()
    assert (scale[:, 0] >= scale[:, -1]).all()
    assert not np.asarray(few.ctf.bfactor).any()
    given = apply_tilts(table, TiltOptions(count=3, dose_per_tilt=3.0))
    assert set(given.dose.tolist()) == {0.0, 3.0, 6.0}
    made = reconstruct(few, ImageSource(few))
    assert np.isfinite(made.volume).all()
    assert made.images == 30

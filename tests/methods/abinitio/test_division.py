"""A map of all images divided: its parts must show what moves, images where they stand."""

import numpy as np
import pytest

from vitreous.methods.abinitio.assignment import search_poses
from vitreous.methods.abinitio.conformations import add_conformations
from vitreous.methods.abinitio.found import Found
from vitreous.methods.abinitio.setting import Setting
from vitreous.metrics.poses import pose_errors
from vitreous.particles.loader import PreparedImages
from vitreous.simulation.blobs import PIXEL_SIZE, blob_set


@pytest.mark.slow
def test_division_frees_poses_from_what_moves():
    some = blob_set("hinge", 400, 2.0, 0, max_shift=0.5, spread=30.0)
    data = PreparedImages.build(some.table, some.source)
    told = []
    # As the command has them, so that both compile the same.
    setting = Setting(data, 9.92, 2.0, 1, "C1", 64, 0, lambda *words: told.append(words[0]))
    # What a search for one map may end with: the mean conformation, no pose of any use.
    mean = np.mean([some.volume(a) for a in np.linspace(-30, 30, 5)], axis=0) * PIXEL_SIZE
    n, shells = len(data), data.pixels.max_shell + 1
    nothing = Found(
        rotation=np.tile(np.eye(3, dtype=np.float32), (n, 1, 1)),
        shift=np.zeros((n, 2), np.float32),
        volumes=(mean[None] / data.normalization.fourier_scale(data.box)).astype(np.float32),
        half_maps=np.zeros((2, *mean.shape), np.float32),
        fsc=np.ones(shells, np.float32),
        latents=None,
        score=np.zeros(n, np.float32),
        converged=True,
        verdict="",
    )
    compiled = search_poses._cache_size()
    found = add_conformations(setting, nothing, 2)
    # Two maps, looked for about centres that are not known and then known: no other argument.
    assert search_poses._cache_size() - compiled <= 2, "the same search was compiled twice"
    errors = pose_errors(found.rotation, some.rotation, found.shift, some.shift)
    # Poses that follow the arm are off by up to 30°, 15° in the median; two maps halve the swing.
    assert np.median(errors.angle) < 13
    assert np.mean(errors.angle > 90) < 0.05
    assert found.latents is not None
    design = np.c_[np.ones(n), found.latents.mean, found.latents.mean**2]
    fitted = design @ np.linalg.lstsq(design, some.angle, rcond=None)[0]
    assert np.corrcoef(fitted, some.angle)[0, 1] > 0.9
    assert {"division", "2 maps", "images choose of 2 maps, divided", "conformations"} <= set(told)

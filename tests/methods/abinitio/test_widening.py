"""Particles that lie farther off their centres than was allowed are found all the same."""

import jax.numpy as jnp
import numpy as np
import pytest

from vitreous.methods.abinitio.search import SearchOptions, search
from vitreous.methods.abinitio.setting import Setting
from vitreous.metrics.poses import pose_errors
from vitreous.particles.loader import PreparedImages
from vitreous.simulation.blobs import PIXEL_SIZE, blob_set

# Pixels. More than half of the images lie farther off than is allowed at first.
ALLOWED, TRUE = 2.0, 3.0


@pytest.mark.slow
def test_a_range_that_poses_press_against_is_widened(caplog):
    some = blob_set("rigid", 300, 1.0, 0, max_shift=TRUE)
    data = PreparedImages.build(some.table, some.source)
    setting = Setting(data, 9.92, ALLOWED, 1, "C1", 64, 0, lambda *_: None)
    volume = some.volume() * PIXEL_SIZE / data.normalization.fourier_scale(data.box)
    options = SearchOptions(passes=6)
    with caplog.at_level("WARNING"):
        found = search(setting, options, jnp.asarray(volume[None], jnp.float32))
    assert "as far off their centres as is allowed" in caplog.text
    assert "(--max-shift)" in caplog.text
    farthest = np.abs(found.shift).max() / PIXEL_SIZE
    assert farthest > 1.5 * ALLOWED
    errors = pose_errors(found.rotation, some.rotation, found.shift, some.shift)
    assert np.median(errors.angle) < 5
    assert np.median(errors.shift) < 0.3 * PIXEL_SIZE

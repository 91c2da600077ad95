"""Shells worked out inside a compiled function are those of the list."""

import jax
import numpy as np
import pytest

from vitreous.geometry.fourier import half_plane_weights
from vitreous.geometry.half_space_radii import shell_sizes, voxel_radii, voxel_shells
from vitreous.reconstruction.fsc import fsc_shells


@pytest.mark.parametrize("box", [7, 16, 65])
def test_shells_and_sizes(box):
    listed = fsc_shells(box)
    made = jax.jit(voxel_shells, static_argnums=0)(box)
    np.testing.assert_array_equal(made, listed)
    assert np.abs(np.asarray(voxel_radii(box)) - listed).max() <= 0.5
    mates = np.broadcast_to(half_plane_weights(box), listed.shape)
    count = box // 2
    sizes = np.bincount(listed.ravel(), mates.ravel())[:count]
    np.testing.assert_array_equal(shell_sizes(box, count), sizes)
    assert int(np.sum(shell_sizes(box, box))) == box**3

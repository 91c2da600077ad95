"""The other hand gives the very same images."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vitreous.geometry.hand import mirror, mirror_rotations
from vitreous.imaging.fourier_grid import volume_to_grid
from vitreous.imaging.slicing import slice_grid


@pytest.mark.parametrize("box", [12, 13])
def test_images_cannot_tell_a_map_from_its_mirror_image(box):
    volume = np.random.default_rng(box).standard_normal((box, box, box)).astype(np.float32)
    rotation = Rotation.random(3, random_state=0).as_matrix().astype(np.float32)
    frequency = jnp.asarray([[1.0, 0.0], [2.0, -3.0], [0.0, 4.0]])
    if box % 2 == 0:
        # Section 0 of an even box has no mate: a mirror image cannot hold it.
        volume[0] = 0
    turned = mirror_rotations(rotation)
    seen = [
        slice_grid(volume_to_grid(jnp.asarray(v)), jnp.asarray(r), frequency)
        for v, r in ((volume, rotation), (mirror(volume), turned))
    ]
    np.testing.assert_allclose(*seen, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(mirror(mirror(volume)), volume)
    np.testing.assert_allclose(np.linalg.det(turned), 1, atol=1e-5)

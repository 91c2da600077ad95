"""Poses of tilt series: what one image leaves open, the others of its particle tell."""

import jax
import jax.numpy as jnp
import numpy as np

from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.geometry.rotations import (
    geodesic_distance,
    random_rotations,
    rotation_vector_to_matrix,
)
from vitreous.imaging.fourier_grid import volume_to_grid
from vitreous.imaging.slicing import slice_grid
from vitreous.reconstruction.pose_refinement import grid_predictor
from vitreous.reconstruction.series_refinement import (
    SeriesPoses,
    Views,
    image_poses,
    refine_series,
)
from vitreous.reconstruction.weighed import Weighed, shift_phases

from .blobs import volume

BOX, TILTS, PARTICLES = 24, 3, 8
PIXELS = FourierPixels(BOX, 8)
COUNT = len(PIXELS)


def test_rotation_and_place_in_depth_come_back():
    grid = volume_to_grid(jnp.asarray(volume(BOX)), 2.0, "cubic")
    turn = rotation_vector_to_matrix(jnp.asarray([[0.0, angle, 0.0] for angle in (0, 40, -40)]))
    views = Views(
        jnp.tile(turn, (PARTICLES, 1, 1)),
        jax.random.normal(jax.random.key(1), (PARTICLES * TILTS, 2)),
    )
    offset = jax.random.normal(jax.random.key(2), (PARTICLES, 3))
    true = SeriesPoses(random_rotations(jax.random.key(0), PARTICLES), offset, jnp.zeros(PARTICLES))
    rotation, shift = image_poses(true, views)
    k = jnp.asarray(PIXELS.frequency)
    cut = slice_grid(grid, rotation, k) * shift_phases(-shift, PIXELS, COUNT)
    # The last image of the first particle only fills up.
    counts = jnp.ones(len(cut)).at[TILTS - 1].set(0)
    weight = counts[:, None] * jnp.asarray(PIXELS.weight)[None] / 0.01
    weighed = Weighed(cut * weight.astype(cut.dtype), weight, weight * jnp.abs(cut) ** 2)
    off = rotation_vector_to_matrix(
        8 * jax.random.normal(jax.random.key(3), (PARTICLES, 3)) / 3**0.5
    )
    start = SeriesPoses(
        jnp.einsum("gij,gjk->gik", off, true.rotation), jnp.zeros_like(offset), true.score
    )

    @jax.jit
    def refine(grid, start):
        predict = grid_predictor(grid, PIXELS, COUNT)
        state = jnp.zeros(PARTICLES, jnp.int32)
        return refine_series(predict, weighed, start, views, state, PIXELS, 12, 30.0)

    found = refine(grid, start)
    assert geodesic_distance(start.rotation, true.rotation).max() > 5
    assert np.max(geodesic_distance(found.rotation, true.rotation)) < 0.1
    # Depth: images tilted by 40° see two thirds of it.
    np.testing.assert_allclose(found.offset, offset, atol=0.02)
    # The log likelihood ratio of noise-free images is half their weighed power.
    power = 0.5 * np.asarray(weighed.square).reshape(PARTICLES, -1).sum(axis=1)
    np.testing.assert_allclose(found.score, power, rtol=1e-2)

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
from vitreous.imaging.fourier_grid import FourierGrid, volume_to_grid
from vitreous.imaging.slicing import slice_grid
from vitreous.reconstruction.pose_refinement import landscape_predictor
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


def test_rotation_place_in_depth_and_conformation_come_back():
    """What changes is one half of the molecule, which a landscape knows as its only component."""
    whole = jnp.asarray(volume(BOX))
    part = jnp.where((jnp.arange(BOX) > BOX // 2)[None, None], whole, 0)
    grids = [volume_to_grid(x, 2.0, "cubic") for x in (whole, part)]
    values = jnp.concatenate([grid.values for grid in grids])
    grid = FourierGrid(values, grids[0].box, grids[0].shape, grids[0].kernel)
    turn = rotation_vector_to_matrix(jnp.asarray([[0.0, angle, 0.0] for angle in (0, 40, -40)]))
    views = Views(
        jnp.tile(turn, (PARTICLES, 1, 1)),
        jax.random.normal(jax.random.key(1), (PARTICLES * TILTS, 2)),
    )
    offset = jax.random.normal(jax.random.key(2), (PARTICLES, 3))
    latent = 0.5 * jax.random.normal(jax.random.key(4), (PARTICLES, 1))
    true = SeriesPoses(
        random_rotations(jax.random.key(0), PARTICLES), offset, jnp.zeros(PARTICLES), latent
    )
    predict = landscape_predictor(grid, 1, PIXELS, COUNT)
    rotation, shift = image_poses(true, views)
    seen, *_ = predict(rotation, jnp.repeat(latent, TILTS, axis=0))
    alone = [slice_grid(grid, rotation, jnp.asarray(PIXELS.frequency)) for grid in grids]
    z = jnp.repeat(latent, TILTS, axis=0).astype(seen.dtype)
    np.testing.assert_allclose(
        seen, alone[0] + z * alone[1], atol=1e-4 * float(jnp.abs(seen).max())
    )
    cut = seen * shift_phases(-shift, PIXELS, COUNT)
    # The last image of the first particle only fills up.
    counts = jnp.ones(len(cut)).at[TILTS - 1].set(0)
    weight = counts[:, None] * jnp.asarray(PIXELS.weight)[None] / 0.01
    weighed = Weighed(cut * weight.astype(cut.dtype), weight, weight * jnp.abs(cut) ** 2)
    off = rotation_vector_to_matrix(
        8 * jax.random.normal(jax.random.key(3), (PARTICLES, 3)) / 3**0.5
    )
    start = SeriesPoses(
        jnp.einsum("gij,gjk->gik", off, true.rotation),
        jnp.zeros_like(offset),
        true.score,
        jnp.zeros_like(latent),
    )

    @jax.jit
    def refine(grid, start):
        predict = landscape_predictor(grid, 1, PIXELS, COUNT)
        return refine_series(predict, weighed, start, views, PIXELS, 12, 30.0)

    found = refine(grid, start)
    assert geodesic_distance(start.rotation, true.rotation).max() > 5
    assert np.max(geodesic_distance(found.rotation, true.rotation)) < 0.1
    # Depth: images tilted by 40° see two thirds of it.
    np.testing.assert_allclose(found.offset, offset, atol=0.02)
    np.testing.assert_allclose(found.latent, latent, atol=0.01)
    # The log likelihood ratio of noise-free images is half their weighed power.
    power = 0.5 * np.asarray(weighed.square).reshape(PARTICLES, -1).sum(axis=1)
    np.testing.assert_allclose(found.score, power, rtol=1e-2)

"""Poses that are a little off come back, by the steps that `--do-pose-sgd` takes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.geometry.rotations import (
    geodesic_distance,
    random_rotations,
    rotation_vector_to_matrix,
)
from vitreous.imaging.fourier_grid import volume_to_grid
from vitreous.imaging.slicing import slice_grid
from vitreous.methods.latent.pose_steps import better_corrections
from vitreous.particles.prepare import Batch
from vitreous.reconstruction.masks import spherical_mask
from vitreous.reconstruction.pose_correction import corrected_pose
from vitreous.reconstruction.weighed import shift_phases

BOX, PIXEL_SIZE, COUNT = 24, 3.0, 40
PIXELS = FourierPixels(BOX, 8)


@pytest.fixture(scope="module")
def planted():
    """Images of a lumpy map with little noise, and poses off by 3° and 2 Å in the median."""
    keys = jax.random.split(jax.random.key(0), 6)
    lumps = jax.random.normal(keys[0], (BOX, BOX, BOX))
    inside = jnp.asarray(spherical_mask(BOX, 7.0, soft_edge=2.0), jnp.float32)
    grid = volume_to_grid(lumps * inside, 2.0, "cubic")
    rotation = random_rotations(keys[1], COUNT)
    shift = 4 * jax.random.normal(keys[2], (COUNT, 2))
    k = jnp.asarray(PIXELS.frequency)
    clean = slice_grid(grid, rotation, k) * shift_phases(-shift / PIXEL_SIZE, PIXELS, len(PIXELS))
    noise = jax.random.normal(keys[3], (2, *clean.shape))
    power = 0.05 * jnp.mean(jnp.abs(clean) ** 2)
    scale = jnp.sqrt(power / 2)
    pixels = clean + jax.lax.complex(scale * noise[0], scale * noise[1])
    turn = rotation_vector_to_matrix(3 / 1.54 * jax.random.normal(keys[4], (COUNT, 3)))
    wrong = jnp.einsum("bij,bjk->bik", turn, rotation)
    off = shift + 2 / 1.18 * jax.random.normal(keys[5], (COUNT, 2))
    number = jnp.arange(COUNT, dtype=jnp.int32)
    # The last row only fills the batch up.
    counted = jnp.ones(COUNT).at[-1].set(0)
    batch = Batch(pixels, wrong, off, jnp.full(COUNT, PIXEL_SIZE), None, number, counted)
    return grid, batch, power, rotation, shift


def improved(grid, batch, power, times, spread):
    """Visit a batch several times, as epochs do."""

    correction = jnp.zeros((COUNT, 5))
    for _ in range(times):
        correction = visit(grid, batch, power, correction, (jnp.asarray(spread),) * 2)
    return correction


@jax.jit
def visit(grid, batch, power, correction, spread):
    return better_corrections(
        lambda rotation, frequency: slice_grid(grid, rotation, frequency),
        batch,
        PIXELS,
        jnp.full(PIXELS.max_shell + 1, power),
        correction,
        len(PIXELS),
        2,
        spread,
    )


def test_errors_of_three_degrees_and_two_angstrom_are_mended(planted):
    grid, batch, power, rotation, shift = planted
    before = np.median(geodesic_distance(batch.rotation, rotation))
    assert before > 2.5
    correction = improved(grid, batch, power, 5, 2.0)
    found = corrected_pose(batch.rotation, batch.shift, correction)
    assert np.median(geodesic_distance(found.rotation, rotation)[:-1]) < 0.2 * before
    assert np.median(np.linalg.norm(found.shift - shift, axis=1)[:-1]) < 0.4
    np.testing.assert_allclose(correction[-1], 0, atol=0.01)


def test_poses_that_are_trusted_stay(planted):
    """The prior counts from the pose given, however often an image is visited."""
    grid, batch, power, *_ = planted
    correction = np.asarray(improved(grid, batch, power, 5, 0.001))
    assert np.abs(correction).max() < 0.1

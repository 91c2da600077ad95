"""Gauss–Newton steps on poses: derivatives, recovery, and draws from the posterior."""

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
from vitreous.reconstruction.pose_refinement import (
    Poses,
    Refined,
    draw_poses,
    grid_predictor,
    likelihood_scores,
    refine_poses,
    slice_predictor,
)
from vitreous.reconstruction.weighed import Weighed, shift_phases

from .blobs import volume

BOX = 24
PIXELS = FourierPixels(BOX, 8)
COUNT = len(PIXELS)


@pytest.fixture(scope="module")
def grid():
    return volume_to_grid(jnp.asarray(volume(BOX)), 2.0, "cubic")


def images(grid, rotation, shift):
    """Weigh noise-free images with a CTF of 1 and noise of power 0.01."""
    k = jnp.asarray(PIXELS.frequency)
    cut = slice_grid(grid, rotation, k) * shift_phases(-shift, PIXELS, COUNT)
    weight = jnp.broadcast_to(jnp.asarray(PIXELS.weight) / 0.01, cut.shape)
    return Weighed(cut * weight.astype(cut.dtype), weight, weight * jnp.abs(cut) ** 2)


def many(rotation, shift):
    n = len(rotation)
    return Poses(rotation[:, None], shift[:, None], jnp.zeros((n, 1), jnp.int32), jnp.zeros((n, 1)))


@jax.jit
def draw(refined: Refined) -> Poses:
    return draw_poses(refined, jax.random.key(0), 4000)


def test_slopes_are_those_of_finite_differences(grid):
    rotation = random_rotations(jax.random.key(0), 2)
    predict = grid_predictor(grid, PIXELS, COUNT)
    _, slope = predict(rotation, jnp.zeros(2, jnp.int32))
    step = 0.2
    for axis in range(3):
        turn = rotation_vector_to_matrix(jnp.zeros(3).at[axis].set(step))
        back = jnp.swapaxes(turn, 0, 1)
        k = jnp.asarray(PIXELS.frequency)
        ahead = slice_grid(grid, jnp.einsum("ij,mjk->mik", turn, rotation), k)
        behind = slice_grid(grid, jnp.einsum("ij,mjk->mik", back, rotation), k)
        central = (ahead - behind) * np.complex64(0.5 / np.deg2rad(step))
        error = jnp.linalg.norm(central - slope[..., axis]) / jnp.linalg.norm(central)
        # Splines of degree 3 bend within the difference's step; float32 takes the rest.
        assert error < 5e-3


def test_any_function_of_rotations_predicts_as_a_grid_does(grid):
    rotation, state = random_rotations(jax.random.key(6), 2), jnp.zeros(2, jnp.int32)
    k = jnp.asarray(PIXELS.frequency)
    any_function = slice_predictor(lambda turned: slice_grid(grid, turned, k))
    mine, theirs = (f(rotation, state) for f in (any_function, grid_predictor(grid, PIXELS, COUNT)))
    for one, other in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4 * float(jnp.abs(other).max()))


def test_disturbed_poses_come_back(grid):
    key = jax.random.key(1)
    rotation = random_rotations(key, 12)
    shift = jax.random.uniform(key, (12, 2), minval=-2, maxval=2)
    seen = images(grid, rotation, shift)
    off = 5 * jax.random.normal(jax.random.key(2), (12, 3)) / np.sqrt(3).item()
    start = jnp.einsum("bij,bjk->bik", rotation_vector_to_matrix(off), rotation)
    moved = shift + 0.5 * jax.random.normal(jax.random.key(3), (12, 2))
    predict = grid_predictor(grid, PIXELS, COUNT)
    found = jax.jit(lambda: refine_poses(predict, seen, many(start, moved), PIXELS, 10))().poses
    assert np.median(geodesic_distance(start, rotation)) > 3
    assert np.max(geodesic_distance(found.rotation[:, 0], rotation)) < 0.05
    assert np.max(np.abs(found.shift[:, 0] - shift)) < 0.005


def test_scores_never_fall_and_are_the_likelihood(grid):
    rotation = random_rotations(jax.random.key(4), 6)
    shift = jnp.zeros((6, 2))
    seen = images(grid, rotation, shift)
    wrong = random_rotations(jax.random.key(5), 6)
    predict = grid_predictor(grid, PIXELS, COUNT)
    refine = jax.jit(lambda steps: refine_poses(predict, seen, many(wrong, shift), PIXELS, steps))
    scores = []
    for steps in (1, 3, 8):
        found = refine(steps).poses
        scores.append(np.asarray(found.score[:, 0]))
        cut = slice_grid(grid, found.rotation[:, 0], jnp.asarray(PIXELS.frequency))
        direct = likelihood_scores(seen, cut[:, None], found.shift, PIXELS)[:, 0]
        np.testing.assert_allclose(scores[-1], direct, rtol=1e-3, atol=0.5)
    assert (scores[1] >= scores[0]).all()
    assert (scores[2] >= scores[1]).all()


def test_draws_have_the_covariance_that_the_images_allow():
    rotation = jnp.broadcast_to(jnp.eye(3), (1, 1, 3, 3))
    poses = Poses(rotation, jnp.zeros((1, 1, 2)), jnp.zeros((1, 1), jnp.int32), jnp.zeros((1, 1)))
    spread = np.array([0.02, 0.01, 0.03, 0.1, 0.2], np.float32)
    normal = jnp.asarray(np.diag(spread**-2.0), jnp.float32)[None, None]
    drawn = draw(Refined(poses, normal))
    # Small turns: the antisymmetric part of the matrix is the rotation vector.
    turned = np.asarray(drawn.rotation[0])
    vector = np.stack([turned[:, 2, 1], turned[:, 0, 2], turned[:, 1, 0]], axis=1)
    found = np.concatenate([vector, np.asarray(drawn.shift[0])], axis=1).std(axis=0)
    np.testing.assert_allclose(found, spread, rtol=0.06)


def test_draws_choose_modes_by_their_evidence():
    turned = rotation_vector_to_matrix(jnp.asarray([[0.0, 0.0, 0.0], [0.0, 0.0, 90.0]]))
    score = jnp.log(jnp.asarray([[3.0, 1.0]]))
    poses = Poses(turned[None], jnp.zeros((1, 2, 2)), jnp.zeros((1, 2), jnp.int32), score)
    normal = jnp.broadcast_to(1e6 * jnp.eye(5), (1, 2, 5, 5))
    drawn = draw(Refined(poses, normal))
    share = np.mean(np.asarray(drawn.rotation[0, :, 0, 0]) > 0.5)
    assert abs(share - 0.75) < 0.03

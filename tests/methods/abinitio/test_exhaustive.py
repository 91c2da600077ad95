"""Scores of all poses by matrix products, against the likelihood written out."""

import jax
import jax.numpy as jnp
import numpy as np

from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.geometry.rotations import geodesic_distance
from vitreous.methods.abinitio.exhaustive import (
    add_softly,
    no_evidence,
    promising,
    score_all,
    trials,
)
from vitreous.methods.abinitio.orientations import shift_grid, trial_grid
from vitreous.reconstruction.weighed import Weighed, shift_phases

PIXELS = FourierPixels(16, 5)
COUNT = len(PIXELS)


def some(key: int, *shape: int):
    real, imaginary = jax.random.normal(jax.random.key(key), (2, *shape))
    return jax.lax.complex(real, imaginary)


def planted():
    """Three images with CTF and noise, five slices, nine shifts."""
    data, ctf = some(0, 3, COUNT), jnp.sin(jnp.arange(3.0 * COUNT)).reshape(3, COUNT)
    weight = jnp.broadcast_to(jnp.asarray(PIXELS.weight) / 0.7, data.shape)
    weighed = Weighed(
        data * (weight * ctf).astype(data.dtype), weight * ctf**2, weight * jnp.abs(data) ** 2
    )
    slices, shift = some(1, 5, COUNT), jnp.asarray(shift_grid(2.0, 2.0))
    rotation = jnp.broadcast_to(jnp.eye(3), (5, 3, 3))
    return data, ctf, weight, weighed, slices, trials(rotation, slices, shift)


def test_scores_are_differences_of_log_likelihoods():
    data, ctf, weight, weighed, slices, tried = planted()
    scores = score_all(weighed, tried, PIXELS).likelihood
    for i, s, q in ((0, 0, 0), (1, 4, 2), (2, 7, 4)):
        there = shift_phases(-tried.shift[s], PIXELS, COUNT)
        model = ctf[i].astype(slices.dtype) * slices[q] * there
        left = jnp.sum(weight[i] * jnp.abs(data[i] - model) ** 2)
        empty = jnp.sum(weight[i] * jnp.abs(data[i]) ** 2)
        np.testing.assert_allclose(scores[i, s, q], 0.5 * (empty - left), rtol=1e-4)


def test_images_are_shared_out_by_their_posterior():
    _, _, _, weighed, _, tried = planted()
    sharpness = jnp.asarray(0.3)
    counted = jnp.asarray([1.0, 1.0, 0.0])
    total = add_softly(no_evidence(tried), weighed, tried, PIXELS, sharpness, counted)
    scores = score_all(weighed, tried, PIXELS)
    exponent = np.asarray(sharpness * scores.likelihood, np.float64)
    posterior = np.exp(exponent - exponent.max(axis=(1, 2), keepdims=True))
    posterior /= posterior.sum(axis=(1, 2), keepdims=True)
    posterior *= np.asarray(counted)[:, None, None]
    expected = np.einsum("bsq,bsp->qp", posterior, np.asarray(scores.centred))
    np.testing.assert_allclose(total.numerator, expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(
        total.weight, posterior.sum(axis=1).T @ np.asarray(weighed.power), rtol=1e-3, atol=1e-4
    )
    evidence = np.log(np.exp(exponent).mean(axis=(1, 2)))[:2].sum()
    np.testing.assert_allclose(total.evidence, evidence, rtol=1e-4)


def test_no_two_promising_rotations_are_neighbours():
    grid, neighbours = trial_grid(1)
    slices = some(2, len(grid), COUNT)
    # Smooth over rotations, so that slopes exist.
    near = np.asarray(slices)[neighbours].mean(axis=1) + np.asarray(slices)
    tried = trials(jnp.asarray(grid), jnp.asarray(near), jnp.zeros((1, 2)))
    _, _, _, weighed, _, _ = planted()
    place, _, score = promising(score_all(weighed, tried, PIXELS), jnp.asarray(neighbours), 1, 6)
    for image in np.asarray(place):
        for a in image:
            assert not set(neighbours[a]) & (set(image.tolist()) - {a})
    assert (np.diff(np.asarray(score), axis=1) <= 1e-5).all()


def test_rotations_of_the_trial_grid_lie_everywhere():
    grid, neighbours = trial_grid(1)
    assert len(grid) == 2 * 576
    distance = geodesic_distance(grid[:, None], grid[neighbours])
    assert np.max(distance[:, 0]) < 30
    assert np.min(distance) > 0.1


def test_shifts_cover_a_disc_from_its_centre():
    shifts = shift_grid(3.0, 1.0)
    assert (shifts == 0).all(axis=1).any()
    assert np.abs(shifts).max() == 3
    assert len(np.unique(shifts, axis=0)) == len(shifts)

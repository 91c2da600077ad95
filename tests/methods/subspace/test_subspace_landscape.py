"""The density behind blurred latents against the one they were drawn from."""

import numpy as np
import pytest

from vitreous.errors import InputError
from vitreous.methods.subspace.landscape import deconvolve, density_path, log_likelihood


def blurred(truth: np.ndarray, noise: float, seed: int = 0):
    """Posterior mean and covariance under a unit prior, of `x = z + noise`."""
    rng = np.random.default_rng(seed)
    seen = truth + noise * rng.normal(size=truth.shape)
    variance = 1 / (1 + noise**-2)
    covariance = np.broadcast_to(
        variance * np.eye(truth.shape[1]), (len(truth), *truth.shape[1:] * 2)
    )
    return seen * variance / noise**2, covariance


def test_two_states_are_sharper_than_their_latents():
    """States at ±1 blurred by 0.6: the variance of the weights must come near that of the truth."""
    truth = np.where(np.arange(2000) % 4 == 0, 1.0, -1.0)[:, None]
    mean, covariance = blurred(truth, 0.6)
    found = deconvolve(mean, covariance, states=400)
    centre = found.weight @ found.states[:, 0]
    near = np.abs(found.states[:, 0] - np.sign(found.states[:, 0])) < 0.35
    assert abs(centre - truth.mean()) < 0.1
    assert found.weight[near].sum() > 0.9
    share = found.weight[found.states[:, 0] > 0].sum()
    assert abs(share - 0.25) < 0.05
    # Of the latents themselves far fewer lie that close to a state.
    assert (np.abs(mean[:, 0] - np.sign(mean[:, 0])) < 0.35).mean() < 0.75


def test_likelihood_undoes_the_prior():
    mean, covariance = blurred(np.array([[0.3, -0.8]]), 0.5)
    states = np.random.default_rng(1).normal(size=(7, 2))
    found = log_likelihood(mean, covariance, states)[0]
    seen = mean[0] * 0.25 / (1 / (1 + 4.0))
    expected = -0.5 * ((states - seen) ** 2).sum(1) / 0.25
    np.testing.assert_allclose(found - found[0], expected - expected[0], atol=1e-9)


def test_paths_keep_to_the_ring():
    """On a circle of states the way to the other side leads around, not through the hole."""
    angle = np.random.default_rng(2).uniform(0, 2 * np.pi, 1500)
    truth = 2 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    mean, covariance = blurred(truth, 0.2)
    found = deconvolve(mean, covariance, states=500)
    path = found.states[density_path(found, np.array([2.0, 0]), np.array([-2.0, 0]))]
    assert np.linalg.norm(path, axis=1).min() > 1.2
    with pytest.raises(InputError, match="two images"):
        deconvolve(mean[:1], covariance[:1])

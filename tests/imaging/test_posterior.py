"""Sums over poses against the same sums as loops; planted poses and structures are found."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from microscope import PIXEL, molecule

from vitreous.geometry.fourier import half_plane
from vitreous.geometry.so3_grid import so3_grid
from vitreous.imaging.grid import ImageGrid
from vitreous.imaging.ice import GaussianIce
from vitreous.imaging.image_model import ImageModel
from vitreous.imaging.likelihood import marginal_likelihood, products
from vitreous.imaging.noise import GaussianNoise
from vitreous.imaging.optics.lens import Optics
from vitreous.imaging.pose import Pose
from vitreous.imaging.posterior import pose_posterior, shift_grid, structure_posterior

GRID = ImageGrid(16, 3.0)
sample = eqx.filter_jit(lambda model, key: model.sample(key))


def model_of(pose: Pose, **parts) -> ImageModel:
    optics = Optics(np.array([9e3, 1.1e4], np.float32), beam_tilt=[0.6, -0.4])
    return ImageModel(molecule(), pose, GRID, optics, noise=GaussianNoise(4e-6), **parts)


def test_shift_grids_are_discs():
    np.testing.assert_array_equal(shift_grid(0.0, 1.0), [[0, 0]])
    assert len(shift_grid(2.0, 1.0)) == 13
    assert np.linalg.norm(shift_grid(7.0, 2.0), axis=1).max() <= 7


@pytest.mark.parametrize("priors", [{}, {"scale_prior": (1.0, 0.2), "positive_scale": False}])
def test_the_sum_is_the_loop(priors: dict):
    """Evidence and every rotation's weight, pose by pose, in batches that do not divide evenly."""
    rotations = jnp.asarray(so3_grid(0)[:7])
    shifts = jnp.asarray(shift_grid(3.0, 3.0))
    model = model_of(Pose(rotations[jnp.array([2, 5])], shifts[:2]))
    observed = sample(model, jax.random.key(0))
    found = pose_posterior(model, observed, rotations, shifts, chunk=3, **priors)
    power = model.noise.power_on(GRID)

    @jax.jit
    def density(rotation, shift):
        pose = Pose(jnp.broadcast_to(rotation, (2, 3, 3)), shift)
        images = eqx.tree_at(lambda m: m.pose, model, pose).render()
        terms = products(half_plane(observed), half_plane(images), power)
        return marginal_likelihood(terms, **({"positive_scale": True} | priors))

    table = np.array([[density(r, t) for t in shifts] for r in rotations])  # (r, t, b)
    total = np.asarray(jax.scipy.special.logsumexp(table, axis=(0, 1)))
    # Differences of sums of 256 numbers of order 5, in single precision.
    np.testing.assert_allclose(found.log_evidence, total - np.log(7 * len(shifts)), atol=0.02)
    weight = np.asarray(jax.scipy.special.logsumexp(table, axis=1)) - total
    np.testing.assert_allclose(found.log_weight, weight.T, atol=0.05)
    flat = table.reshape(-1, 2).argmax(axis=0)
    np.testing.assert_array_equal(found.rotation, flat // len(shifts))
    np.testing.assert_array_equal(found.shift, flat % len(shifts))
    np.testing.assert_allclose(found.log_density, table.reshape(-1, 2).max(axis=0), atol=0.02)


def test_planted_poses_and_structures_are_found():
    """Two images at two of 576 rotations and 5 shifts, and one of two structures."""
    rotations, shifts = jnp.asarray(so3_grid(1)), jnp.asarray(shift_grid(3.0, 3.0))
    truth, moved = np.array([100, 333]), np.array([1, 3])
    model = model_of(Pose(rotations[truth], shifts[moved]))
    observed = sample(model, jax.random.key(1))
    found = pose_posterior(model, observed, rotations, shifts)
    np.testing.assert_array_equal(found.rotation, truth)
    np.testing.assert_array_equal(found.shift, moved)
    np.testing.assert_allclose(jnp.exp(found.log_weight).sum(axis=1), 1, rtol=1e-4)
    changed = eqx.tree_at(lambda m: m.volume, model, molecule(seed=5))
    other = pose_posterior(changed, observed, rotations, shifts)
    evidence = jnp.stack([found.log_evidence, other.log_evidence])
    assert float(structure_posterior(evidence)[0]) > 0.99
    prior = jnp.array([-1e4, 0.0])
    assert float(structure_posterior(evidence, prior)[0]) < 0.01


def test_models_that_cannot_be_summed():
    model = ImageModel(molecule(), Pose.identity(1), ImageGrid(8, PIXEL), Optics())
    with pytest.raises(ValueError, match="linear models with noise"):
        pose_posterior(model, jnp.zeros((1, 8, 8)), jnp.eye(3)[None], jnp.zeros((1, 2)))
    icy = eqx.tree_at(
        lambda m: (m.noise, m.ice),
        model,
        (GaussianNoise(1.0), GaussianIce(100.0)),
        is_leaf=lambda x: x is None,
    )
    with pytest.raises(ValueError, match="linear models with noise"):
        pose_posterior(icy, jnp.zeros((1, 8, 8)), jnp.eye(3)[None], jnp.zeros((1, 2)))

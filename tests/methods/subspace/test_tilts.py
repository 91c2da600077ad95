"""Tilt series: the images of a particle share its coordinates."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from planted import plant

from vitreous.methods.subspace.config import SubspaceConfig
from vitreous.methods.subspace.expectation import ContrastPrior
from vitreous.methods.subspace.fit import train_subspace
from vitreous.methods.subspace.model import Noise, grid_table, volumes_to_grid
from vitreous.methods.subspace.sweep import add_batch, empty_sums
from vitreous.methods.subspace.unseen import evaluate
from vitreous.metrics.neighbours import state_accuracy
from vitreous.particles import read_particles
from vitreous.training.inputs import DataOptions

sys.path.insert(0, str(Path(__file__).parents[1] / "latent"))
from two_states import write_tilt_series


def test_evidence_of_tilts_adds_up():
    """Precisions `M − 1` and their products with `E z` add over images; one is left out."""
    planted = plant(12, 2, noise=5.0, seed=2)
    band = planted.band
    grid = volumes_to_grid(jnp.asarray(planted.volumes), band.size)
    table = grid_table(jnp.stack([grid, grid]), band.shape)
    zero = jnp.zeros(12, jnp.int32)
    noise = Noise(jnp.full((1, band.shells), 5.0), zero, jnp.int32(band.max_shell))
    weight = np.ones(12, np.float32)
    weight[5] = 0
    batch = planted.batch._replace(weight=jnp.asarray(weight))

    @jax.jit
    def both(batch):
        make = lambda tilts: add_batch(  # noqa: E731
            empty_sums(band, 1), table, batch, zero, noise, zero, jnp.array(True), band,
            ContrastPrior(), tilts,
        )  # fmt: skip
        return make(1)[1], make(3)

    alone, (sums, together) = both(batch)
    precision = np.linalg.inv(np.asarray(alone.covariance, np.float64))
    told = np.einsum("ikl,il->ik", precision, np.asarray(alone.mean, np.float64))
    count = weight[:, None, None]
    total = ((precision - np.eye(2)) * count).reshape(4, 3, 2, 2).sum(1) + np.eye(2)
    mean = np.linalg.solve(total, (told * weight[:, None]).reshape(4, 3, 2).sum(1)[..., None])
    # Covariances come in float32, and inverses lose two digits more.
    np.testing.assert_allclose(together.mean, mean[..., 0], atol=1e-3)
    np.testing.assert_allclose(together.covariance, np.linalg.inv(total), atol=1e-4)
    assert float(sums.particles.sum()) == 4


@pytest.mark.slow
def test_particles_are_told_apart_by_all_their_tilts(tmp_path):
    """200 particles × 9 tilts, noise with 16 times the power of the signal."""
    tilts = write_tilt_series(tmp_path, particles=200, noise=4.0)
    # States alternate, and so would half sets: each would see one state only.
    table = read_particles(tilts.star)
    half = np.random.default_rng(0).integers(0, 2, 200)[table.particle].astype(np.int8)
    star = tmp_path / "halves.star"
    table.replace(half_set=half).to_star(star)
    config = SubspaceConfig(zdim=2, keep_all=True, particle_diameter=130.0)
    run = train_subspace(star, tmp_path / "run", config)
    assert run.config["latents_of"] == "particles"
    z = run.latents().mean
    assert z.shape == (200, 2)
    assert state_accuracy(z, tilts.state) > 0.95
    unseen = evaluate(run, star, DataOptions(ind=list(range(20, 60))))
    # The same posterior: what is saved is what the latents of the fit were told by.
    assert unseen.latents.mean.shape == (40, 2)
    np.testing.assert_allclose(unseen.latents.mean, z[20:60], atol=1e-3 * z.std())
    with np.load(run.path / "posterior.npz") as posterior:
        assert posterior["covariance"].shape == (200, 2, 2)

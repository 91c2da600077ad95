"""The E-step against direct Gaussian algebra, and its calibration on planted images."""

import jax
import jax.numpy as jnp
import numpy as np
from planted import plant
from scipy import stats

from vitreous.methods.subspace.expectation import ContrastPrior, Products, posterior
from vitreous.methods.subspace.model import Noise, grid_table, volumes_to_grid
from vitreous.methods.subspace.sweep import infer


def products(rng, images, components, rows):
    """Random imaged fields and data, and their inner products."""
    fields = rng.normal(size=(images, rows, components + 1))
    data = rng.normal(size=(images, rows)) + fields[..., 0]
    gram = np.einsum("irk,irl->ikl", fields, fields)
    made = Products(
        jnp.asarray(gram),
        jnp.asarray(np.einsum("irk,ir->ik", fields, data)),
        jnp.asarray((data**2).sum(1)),
    )
    return fields, data, made


def test_evidence_and_moments_are_those_of_a_gaussian():
    """`y ~ N(s μ, 1 + s² A Aᵀ)` for each contrast: no Woodbury identity used here."""
    with jax.enable_x64(True):
        fields, data, given = products(np.random.default_rng(0), 5, 3, 8)
        prior = ContrastPrior((0.8, 1.0, 1.3), tuple(np.log([0.2, 0.5, 0.3]).tolist()))
        found = jax.jit(posterior, static_argnums=1)(given, prior)
        for i in range(5):
            for count in range(4):
                a = fields[i, :, 1 : count + 1]
                logs = [
                    stats.multivariate_normal(
                        s * fields[i, :, 0], np.eye(8) + s * s * a @ a.T
                    ).logpdf(data[i])
                    + 4 * np.log(2 * np.pi)
                    + log
                    for s, log in zip(*prior, strict=True)
                ]
                expected = np.logaddexp.reduce(logs)
                np.testing.assert_allclose(found.evidence[i, count], expected, rtol=1e-10)
            chance = np.exp(np.array(logs) - expected)
            means, squares, firsts = [], [], []
            for s in prior.values:
                covariance = np.linalg.inv(np.eye(3) + s * s * a.T @ a)
                mean = covariance @ (s * a.T @ (data[i] - s * fields[i, :, 0]))
                means.append(mean)
                squares.append(covariance + np.outer(mean, mean))
                firsts.append(s * np.r_[1, mean])
            mean = np.einsum("s,sk->k", chance, means)
            np.testing.assert_allclose(found.mean[i], mean, rtol=1e-9)
            np.testing.assert_allclose(found.first[i], chance @ np.array(firsts), rtol=1e-9)
            np.testing.assert_allclose(
                found.covariance[i],
                np.einsum("s,skl->kl", chance, squares) - np.outer(mean, mean),
                atol=1e-12,
            )


def test_coordinates_are_calibrated():
    """With the true volumes `(z − E z)ᵀ Cov⁻¹ (z − E z)` is χ² with K degrees of freedom."""
    planted = plant(600, 3, noise=0.3, seed=1)
    band = planted.band
    # The images were cut from this very grid, so no interpolation error enters.
    grid = volumes_to_grid(jnp.asarray(planted.volumes), planted.volumes.shape[-1])
    assert band.size == planted.volumes.shape[-1]
    table = grid_table(jnp.stack([grid, grid]), band.shape)
    half = jnp.zeros(600, jnp.int32)
    noise = Noise(jnp.full((1, band.shells), planted.noise), half, jnp.int32(band.max_shell))
    seen = jax.jit(infer, static_argnames=("band", "contrast"))(
        table, planted.batch, half, noise, half, band=band, contrast=ContrastPrior()
    )
    left = planted.z - np.asarray(seen.mean)
    chi = np.einsum("ik,ikl,il->i", left, np.linalg.inv(np.asarray(seen.covariance)), left)
    # The mean of 600 values of χ²₃ has standard deviation √(6 / 600) = 0.1: four of them.
    assert abs(chi.mean() - 3) < 0.4
    assert stats.kstest(chi, stats.chi2(3).cdf).pvalue > 1e-3
    # And the posterior says something: without images its variance would be 1.
    assert np.asarray(seen.covariance)[:, 0, 0].mean() < 0.5

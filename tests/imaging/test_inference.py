"""The page on inference runs, and what it finds is the truth within the error it claims."""

import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from vitreous.geometry.rotations import geodesic_distance

PAGE = Path(__file__).parents[2] / "docs" / "imaging" / "inference.md"


@pytest.fixture(scope="module")
def page() -> dict:
    """Run the examples of the page, as a reader would, and return all they define."""
    pytest.importorskip("blackjax")
    pytest.importorskip("numpyro")
    blocks = PAGE.read_text(encoding="utf-8").split("```py\n")[1:]
    namespace: dict = {"__name__": "inference"}
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        for block in blocks:
            exec(compile(block.split("```")[0], str(PAGE), "exec"), namespace)
    assert "vitreous" in sys.modules
    return namespace


@pytest.mark.slow
def test_refinement_finds_poses_and_defocus(page):
    """From 7°, 2 Å and 300 Å away."""
    found, truth = page["refined"], page["truth"]
    assert np.all(geodesic_distance(found.pose.rotation, truth.pose.rotation) < 1.5)
    np.testing.assert_allclose(found.pose.shift, truth.pose.shift, atol=0.3)
    np.testing.assert_allclose(found.optics.defocus_u, truth.optics.defocus_u, atol=150)
    # No worse than the truth itself fits.
    assert float(page["losses"][-1]) < -float(truth.log_likelihood(page["observed"]).sum()) + 5


@pytest.mark.slow
def test_samples_agree_with_the_curvature(page):
    """Means within 0.5σ and widths within 35 % of Laplace's, for 250 samples; the truth is at 0."""
    density = page["log_density"]
    derivatives = jax.jit(lambda x: (jax.grad(density)(x), jax.hessian(density)(x)))
    best = np.zeros(5, np.float32)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        for _ in range(6):
            gradient, curvature = (np.asarray(x) for x in derivatives(best))
            best = best - np.linalg.solve(curvature, gradient)
    covariance = np.linalg.inv(-curvature)
    deviation = np.sqrt(np.diag(covariance))
    assert best @ np.linalg.solve(covariance, best) < 5 + 4 * np.sqrt(10)
    for name in ("poses", "also"):
        samples = np.asarray(page[name])
        assert np.all(np.abs(samples.mean(axis=0) - best) < 0.5 * deviation), name
        np.testing.assert_allclose(samples.std(axis=0), deviation, rtol=0.35, err_msg=name)


@pytest.mark.slow
def test_images_know_their_structure(page):
    weight = page["structure_posterior"](page["evidence"])
    assert float(weight[0]) > 0.99


@pytest.mark.slow
def test_scale_and_offset_are_found(page):
    """The images were stretched by 2.5 and lifted by 0.1."""
    np.testing.assert_allclose(page["best"].scale, 2.5, rtol=0.05)
    np.testing.assert_allclose(page["best"].offset, 0.1, atol=0.01)

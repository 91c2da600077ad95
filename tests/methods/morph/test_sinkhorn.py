"""Optimal transport on grids: against ott-jax, a dense oracle, closed forms and itself."""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vitreous.methods.morph.sinkhorn import log_blur, peer_transport, sinkhorn, transport_cost

VOXEL, EPSILON = 2.0, 6.0


def two_densities(n: int = 12) -> tuple[np.ndarray, np.ndarray]:
    z, y, x = np.meshgrid(*[np.arange(n)] * 3, indexing="ij")

    def blob(centre, sigma):
        square = sum((a - c) ** 2 for a, c in zip((z, y, x), centre, strict=True))
        return np.exp(-square / (2 * sigma**2))

    a = blob((4, 5, 6), 1.5) + 0.7 * blob((8, 6, 4), 1.2) + 1e-3
    b = blob((5, 6, 6), 1.5) + 0.7 * blob((8, 4, 7), 1.2) + 1e-3
    return a / a.sum(), b / b.sum()


def converged(a, b, iterations=1500):
    return jax.jit(lambda a, b: sinkhorn(a, b, VOXEL, EPSILON, iterations))(a, b)


def test_the_cost_is_that_of_ott_jax():
    # ott-jax 0.6.0, geometry.grid.Grid, threshold 1e-9: reg_ot_cost of (a,b), (a,a), (b,b).
    pair, first, second = 32.31870221812535, 21.967302234692877, 21.54266568341063
    with jax.enable_x64(True):
        a, b = map(jnp.asarray, two_densities())
        found = converged(a, b)
        plain = float(transport_cost(found, a, b, is_debiased=False))
        divergence = float(transport_cost(found, a, b))
    assert plain == pytest.approx(pair, rel=1e-6)
    assert divergence == pytest.approx(pair - 0.5 * (first + second), rel=1e-6)


@pytest.mark.skipif(importlib.util.find_spec("ott") is None, reason="needs ott-jax")
@pytest.mark.filterwarnings("ignore")
def test_cost_and_potentials_are_those_of_the_installed_ott_jax():
    from ott.geometry import grid
    from ott.problems.linear import linear_problem
    from ott.solvers.linear import sinkhorn as ott_sinkhorn

    with jax.enable_x64(True):
        a, b = map(jnp.asarray, two_densities())
        # It was not written for strict promotion.
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            geometry = grid.Grid(x=[jnp.arange(12) * VOXEL] * 3, epsilon=EPSILON)
            problem = linear_problem.LinearProblem(geometry, a.ravel(), b.ravel())
            theirs = ott_sinkhorn.Sinkhorn(threshold=1e-9, max_iterations=20000)(problem)
        found = converged(a, b)
        cost = transport_cost(found, a, b, is_debiased=False)
        # Theirs refer to the counting measure, ours to the densities; both up to a constant.
        ours = np.asarray(found.f) + EPSILON * np.log(np.asarray(a))
        gap = np.asarray(theirs.f).reshape(12, 12, 12) - ours
    assert float(cost) == pytest.approx(float(theirs.reg_ot_cost), rel=1e-6)
    assert np.ptp(gap) < 1e-5


def test_the_separable_blur_is_the_dense_one():
    rng = np.random.default_rng(0)
    phi = rng.normal(size=(4, 5, 3)).astype(np.float32)
    index = np.argwhere(np.ones(phi.shape))
    square = np.sum((index[:, None] - index[None]) ** 2, axis=-1)
    dense = np.log(np.exp(phi.ravel()[None] - 0.4 * square).sum(1)).reshape(phi.shape)
    np.testing.assert_allclose(log_blur(jnp.asarray(phi), 0.4), dense, atol=1e-5)


@pytest.mark.parametrize("reach", [3, 14])
def test_a_window_wide_enough_changes_nothing(reach):
    rng = np.random.default_rng(1)
    phi = jnp.asarray(rng.normal(size=(17, 18, 19)), jnp.float32)
    # At this sharpness a voxel three away counts exp(-36).
    whole, window = log_blur(phi, 4.0), log_blur(phi, 4.0, reach)
    np.testing.assert_allclose(window, whole, atol=1e-5)


def test_a_shifted_density_costs_the_square_of_its_shift():
    a = np.zeros((12, 12, 12), np.float32)
    a[4:7, 4:6, 5:7] = 1
    a /= a.sum()
    b = np.roll(a, (2, 1), (0, 2))
    a, b = jnp.asarray(a), jnp.asarray(b)
    found = converged(a, b, 300)
    expected = (2**2 + 1**2) * VOXEL**2
    assert float(transport_cost(found, a, b)) == pytest.approx(expected, rel=2e-3)


def test_a_density_feels_no_force_from_itself_however_few_iterations():
    a = jnp.asarray(two_densities()[0], jnp.float32)
    found = sinkhorn(a, a, VOXEL, EPSILON, 2)
    assert float(jnp.max(jnp.abs(found.f - found.source_self))) == 0.0


def test_the_force_is_the_derivative_of_the_divergence():
    with jax.enable_x64(True):
        a, b = map(jnp.asarray, two_densities())
        rng = np.random.default_rng(2)
        change = jnp.asarray(rng.normal(size=a.shape)) * a
        change = change - a * jnp.sum(change)

        def divergence(t):
            d = a + t * change
            return float(transport_cost(converged(d, b), d, b))

        found = converged(a, b)
        slope = float(jnp.sum((found.f - found.source_self) * change))
        finite = (divergence(1e-4) - divergence(-1e-4)) / 2e-4
    assert slope == pytest.approx(finite, rel=1e-5)


def test_the_peers_loss_obeys_its_relation_to_entropic_transport():
    # Reference (A.5): at convergence and unit mass the regularised cost in the product measure is
    # loss − ε(Σ a log a + Σ b log b) + ε.
    with jax.enable_x64(True):
        a, b = map(jnp.asarray, two_densities())
        side = 12 * VOXEL
        epsilon = EPSILON / side**2
        field, loss = jax.jit(
            lambda a, b: peer_transport(a, b, 1 / (epsilon * 12**2), epsilon, 1500)
        )(a, b)
        entropy = float(jnp.sum(a * jnp.log(a)) + jnp.sum(b * jnp.log(b)))
        cost = float(loss) - epsilon * entropy + epsilon
        assert cost * side**2 == pytest.approx(32.31870221812535, rel=1e-6)
        ours = converged(a, b).f / side**2 + epsilon * jnp.log(a)
        assert float(jnp.ptp(field - ours)) < 1e-8

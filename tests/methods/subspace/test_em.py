"""EM climbs the exact likelihood, finds planted components, and keeps half sets apart."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from planted import BOX, RADIUS, plant, prepared

from vitreous.errors import InputError
from vitreous.methods.subspace.config import SubspaceConfig
from vitreous.methods.subspace.em import fit_em
from vitreous.methods.subspace.estimate import improve, start
from vitreous.methods.subspace.expectation import ContrastPrior
from vitreous.methods.subspace.gauge import gram_of, mix, new_basis
from vitreous.methods.subspace.maximisation import normal_equations, solve
from vitreous.methods.subspace.model import Noise, Subspace, grid_table, grid_to_volumes
from vitreous.methods.subspace.online import fit_online, in_new_basis
from vitreous.methods.subspace.passes import Passes
from vitreous.methods.subspace.poses import improve_poses
from vitreous.methods.subspace.schedule import Step, schedule
from vitreous.methods.subspace.sweep import add_batch, empty_sums
from vitreous.reconstruction.masks import spherical_mask

IMAGES = 800


@pytest.fixture(scope="module")
def planted():
    return plant(IMAGES, 2, noise=10.0, seed=3)


def first_guess(planted, band, half, power=20.0):
    noise = Noise(
        jnp.full((1, band.shells), power), jnp.zeros(IMAGES, jnp.int32), jnp.int32(band.max_shell)
    )
    mask = spherical_mask(BOX, RADIUS + 1, 1.5)
    masks = np.stack([mask] * band.fields)
    mean = np.stack([planted.volumes[0]] * 2)
    return start(mean, masks, half, noise, band, seed=0), masks


def plain_em(planted, steps: int, contrast: ContrastPrior, gauge: bool) -> list[float]:
    """EM in float64 without mask or prior: the log evidence before each M-step."""
    band = planted.band
    with jax.enable_x64(True):
        wide = lambda x: x.astype({"f": np.float64, "c": np.complex128}.get(x.dtype.kind, x.dtype))  # noqa: E731
        batch = jax.tree.map(lambda x: wide(x)[:96], planted.batch)
        half = jnp.arange(96, dtype=jnp.int32) % 2
        group = jnp.zeros(96, jnp.int32)
        shells = jnp.full((1, band.shells), 10.0, jnp.float64)
        noise = Noise(shells, group, jnp.int32(band.max_shell))
        rng = np.random.default_rng(0)
        shape = (2, band.fields, band.size, band.size, band.size)
        grid = jnp.fft.rfftn(jnp.asarray(rng.normal(size=shape)), axes=(-3, -2, -1))
        tiny = jnp.full((2, band.fields, band.shells), 1e-9, jnp.float64)

        @jax.jit
        def sweep(grid):
            sums = empty_sums(band, 1, jnp.float64)
            table = grid_table(grid, band.shape)
            return add_batch(
                sums, table, batch, half, noise, group, jnp.array(True), band, contrast
            )[0]

        values = []
        for _ in range(steps):
            sums = sweep(grid)
            values.append(float(sums.evidence[:, -1].sum()))
            new = solve(normal_equations(sums, grid, band), tiny, band)
            if gauge:
                volumes = grid_to_volumes(new, band.size)
                moments = (gram_of(volumes), sums.first, sums.second, sums.particles)
                basis = new_basis(*(np.asarray(x) for x in moments))
                new = mix(new, jnp.asarray(basis, jnp.float64))
            grid = new
        return values


@pytest.mark.parametrize("gauge", [False, True])
def test_every_iteration_raises_the_exact_likelihood(planted, gauge):
    """Interpolation couples voxels, contrast varies, and still no step goes down.

    The basis is stored in float32, hence 1e-6 of the value when it is chosen anew.
    """
    values = plain_em(planted, 8, ContrastPrior.normal(0.2, 3), gauge)
    slack = 1e-6 * abs(values[0]) if gauge else 1e-9 * abs(values[0])
    assert all(b > a - slack for a, b in itertools.pairwise(values)), values
    assert values[-1] > values[0] + 100


@pytest.fixture(scope="module")
def fitted(planted):
    band = planted.band
    data = prepared(planted)
    half = np.arange(IMAGES, dtype=np.int32) % 2
    estimate, masks = first_guess(planted, band, half)
    passes = Passes(data, band, ContrastPrior())
    steps = [Step(4, 0.3)] * 4 + [Step(6, 0.1)] * 5
    return fit_em(passes, estimate, masks, steps)


def test_the_fit_climbs_within_a_stage(fitted):
    """With the prior of half sets, which moves, and noise that is measured on the way.

    Leaves out the first value, which has the guess of the noise.
    """
    first, second = fitted.history[1:4], fitted.history[4:9]
    for stage in (first, second):
        assert all(b > a for a, b in itertools.pairwise(stage)), fitted.history


def principal_angles(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    a, b = (np.linalg.qr(v.reshape(len(v), -1).T)[0] for v in (found, truth))
    return np.degrees(np.arccos(np.clip(np.linalg.svd(a.T @ b)[1], 0, 1)))


def test_planted_components_are_found(planted, fitted):
    angles = principal_angles(fitted.volumes[1:], planted.volumes[1:])
    assert angles.max() < 12, angles
    assert fitted.support.supported == 2
    assert (fitted.support.correlation > 0.9).all()
    # White noise of the planted power, found again on every shell but the empty first.
    np.testing.assert_allclose(fitted.noise[0, 1:], planted.noise, rtol=0.1)
    # Coordinates up to the basis: a linear map explains them.
    z = np.asarray(fitted.seen.mean)
    left = planted.z - z @ np.linalg.lstsq(z, planted.z, rcond=None)[0]
    assert 1 - left.var() / planted.z.var() > 0.85


def test_too_many_components_are_not_supported(planted):
    band = planted.band._replace(components=4)
    half = np.arange(IMAGES, dtype=np.int32) % 2
    estimate, masks = first_guess(planted, band, half)
    passes = Passes(prepared(planted), band, ContrastPrior())
    fit = fit_em(passes, estimate, masks, [Step(6, 0.1)] * 6)
    assert fit.support.supported == 2, fit.support
    with pytest.raises(InputError, match="at most"):
        SubspaceConfig(zdim=10).check_support(100)


def test_half_sets_never_mix(planted):
    """Other images in one half leave every number of the other half as it was, bit for bit."""
    band = planted.band
    half = np.arange(IMAGES, dtype=np.int32) % 2
    grids = []
    for spoilt in (False, True):
        batch = planted.batch
        if spoilt:
            batch = batch._replace(
                pixels=jnp.where(jnp.asarray(half)[:, None] == 1, 5 + 0j, batch.pixels)
            )
        data = prepared(planted._replace(batch=batch))
        estimate, masks = first_guess(planted, band, half)
        passes = Passes(data, band, ContrastPrior())
        sums, _ = passes.run(estimate.subspace, estimate.noise)
        equations = normal_equations(sums, estimate.subspace.grid, band)
        estimate, _, _ = improve(estimate, sums, equations, jnp.asarray(masks), 0.1, band)
        grids.append(np.asarray(estimate.subspace.grid))
    np.testing.assert_array_equal(grids[0][0], grids[1][0])
    assert np.abs(grids[0][1] - grids[1][1]).max() > 1


def test_streamed_images_give_the_same_sums(planted):
    half = jnp.arange(IMAGES, dtype=jnp.int32) % 2
    estimate, _ = first_guess(planted, planted.band, np.asarray(half))
    sums = []
    for resident in (True, False):
        passes = Passes(prepared(planted, resident=resident), planted.band, ContrastPrior())
        found, seen = passes.run(estimate.subspace, estimate.noise)
        sums.append((np.asarray(found.table), seen.mean))
    scale = np.abs(sums[0][0]).max()
    np.testing.assert_allclose(sums[1][0], sums[0][0], atol=1e-5 * scale)
    np.testing.assert_allclose(sums[1][1], sums[0][1], atol=1e-4)


def test_online_learning_finds_the_components(planted):
    band = planted.band
    half = np.arange(IMAGES, dtype=np.int32) % 2
    estimate, masks = first_guess(planted, band, half)
    passes = Passes(prepared(planted), band, ContrastPrior())
    found = fit_online(passes, estimate, masks, [Step(6, 0.2)] * 16, block=400)
    angles = principal_angles(np.asarray(found.volumes)[0, 1:], planted.volumes[1:])
    # One half, blocks of 200 of its images: less than the full fit, far from chance (80°).
    assert angles.max() < 30, angles


def test_equations_follow_the_basis(planted):
    """Solving in new coordinates gives the old solution in the new basis."""
    band = planted.band
    estimate, _ = first_guess(planted, band, np.arange(IMAGES, dtype=np.int32) % 2)
    passes = Passes(prepared(planted), band, ContrastPrior())
    sums, _ = passes.run(estimate.subspace, estimate.noise)
    equations = normal_equations(sums, estimate.subspace.grid, band)
    rng = np.random.default_rng(1)
    basis = np.stack([np.eye(3)] * 2)
    basis[:, 1:] += 0.3 * rng.normal(size=(2, 2, 3))
    tiny = jnp.full((2, 3, band.shells), 1e-6)
    direct = mix(solve(equations, tiny, band), jnp.asarray(basis, jnp.float32))
    inverse = jnp.asarray(np.linalg.inv(basis), jnp.float32)
    turned = solve(in_new_basis(equations, inverse, band), tiny, band)
    scale = np.abs(direct).max()
    np.testing.assert_allclose(turned, direct, atol=2e-3 * scale)


def test_pose_moves_climb():
    """A quadratic bowl per image: one parabola step lands at its top, never lower than before."""
    top = jnp.asarray(np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)) * 0.3

    def value(at):
        return -jnp.sum((at - top) ** 2, axis=-1)

    moved = improve_poses(value, jnp.zeros((6, 5)), jnp.full(5, 0.4))
    np.testing.assert_allclose(moved, top, atol=1e-4)


def test_one_half_alone_may_be_fitted(planted):
    """The joint fit leaves the second grid idle; nothing of it may turn NaN."""
    band = planted.band
    estimate, masks = first_guess(planted, band, np.zeros(IMAGES, np.int32))
    estimate = estimate._replace(subspace=Subspace(estimate.subspace.grid, jnp.zeros(IMAGES, int)))
    passes = Passes(prepared(planted), band, ContrastPrior())
    sums, _ = passes.run(estimate.subspace, estimate.noise)
    equations = normal_equations(sums, estimate.subspace.grid, band)
    estimate, _, _ = improve(estimate, sums, equations, jnp.asarray(masks), 0.1, band)
    assert np.isfinite(np.asarray(estimate.volumes)).all()


@pytest.mark.parametrize(("last", "iterations"), [(2, 1), (8, 2), (14, 2), (15, 1), (60, 3)])
def test_shells_open_in_stages_less_than_twice_as_far(last, iterations):
    steps = schedule(last, iterations)
    shells = [step.last_shell for step in steps]
    assert shells[0] <= 8
    assert shells[-1] == last
    assert all(a <= b < 2 * a for a, b in itertools.pairwise(shells))
    assert shells.count(last) >= iterations
    # Halves that have not converged yet are believed more than they agree.
    assert steps[0].floor > steps[-1].floor

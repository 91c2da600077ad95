"""Flows, splats and strain: closed forms, adjoints, finite differences, the peer's arithmetic."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from vitreous.geometry.point_groups import point_group
from vitreous.geometry.rotations import random_rotations, rotation_vector_to_matrix
from vitreous.methods.morph.cloud import cloud_of, read_at, splat
from vitreous.methods.morph.flow import carry, carry_points, deformation_gradient
from vitreous.methods.morph.mesh import (
    build_mesh,
    determinant,
    inversion_barrier,
    strain_energy,
    tetrahedron_gradients,
)
from vitreous.methods.morph.velocity import (
    MLPVelocity,
    SplineVelocity,
    cubic_basis,
    new_mlp,
    symmetrise,
)

ORIGIN = (0.0, 0.0, 0.0)


def linear_field(matrix: np.ndarray) -> MLPVelocity:
    """A perceptron that computes v = M x exactly: one layer, no rectifier."""
    # Layers act in array order, so both axes of the matrix are reversed.
    weight = jnp.asarray(matrix[::-1, ::-1].copy(), jnp.float32)
    return MLPVelocity((weight,), (jnp.zeros(3),), ORIGIN, 1.0)


def some_mlp(seed: int = 0, is_time_dependent: bool = False) -> MLPVelocity:
    mlp = new_mlp(jax.random.key(seed), 3, 16, (5.0, 4.0, 6.0), 12.0, is_time_dependent)
    last = 0.3 * jax.random.normal(jax.random.key(seed + 1), mlp.weights[-1].shape)
    return MLPVelocity((*mlp.weights[:-1], last), mlp.biases, mlp.centre, mlp.extent)


def some_points(count: int = 40) -> np.ndarray:
    return np.random.default_rng(3).uniform(0, 10, (count, 3)).astype(np.float32)


def test_a_spinning_field_turns_points_to_fourth_order():
    spin = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 0]])
    points = some_points()
    exact = points @ rotation_vector_to_matrix(np.array([0.0, 0, np.rad2deg(1.0)])).T
    errors = []
    for steps in (2, 4):
        moved = carry_points(linear_field(spin), points, [1.0], steps)[0]
        errors.append(np.abs(moved - exact).max())
    assert errors[0] / errors[1] > 12


def test_the_way_back_leads_home():
    points = some_points()
    there = carry_points(some_mlp(), points, [1.0], 40)[0]
    back = carry_points(some_mlp(), there, [0.0], 40, start=1.0)[0]
    np.testing.assert_allclose(back, points, atol=2e-3)
    assert np.abs(there - points).max() > 0.5


def test_runge_kutta_agrees_with_diffrax():
    diffrax = pytest.importorskip("diffrax")
    field, points = some_mlp(4, True), some_points(10)
    ours = carry_points(field, points, [1.0], 64)[0]
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, x, _: field(jnp.asarray(t, jnp.float32), x)),
        diffrax.Tsit5(), 0.0, 1.0, 1 / 64, jnp.asarray(points),
    )  # fmt: skip
    np.testing.assert_allclose(ours, solution.ys[0], atol=1e-3)


def test_euler_in_ten_steps_is_the_peers_rule():
    field, x = some_mlp(), some_points()
    expected = x.astype(np.float64)
    for _ in range(10):
        hidden = (expected - np.array(field.centre))[:, ::-1] / field.extent
        for i, (weight, bias) in enumerate(zip(field.weights, field.biases, strict=True)):
            hidden = hidden @ np.asarray(weight, np.float64).T + np.asarray(bias)
            hidden = np.where(hidden > 0, hidden, 0.01 * hidden) if i < 2 else hidden
        expected = expected + field.extent * hidden[:, ::-1] / 10
    found = carry_points(field, x, [1.0], 10, "euler")[0]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_frames_lie_on_one_way():
    field, points = some_mlp(), some_points()
    stops = carry_points(field, points, [i / 10 for i in range(11)], 10, "euler")
    np.testing.assert_array_equal(stops[0], points)
    whole = carry_points(field, points, [1.0], 10, "euler")[0]
    np.testing.assert_allclose(stops[-1], whole, atol=1e-5)


def test_more_points_than_one_piece_changes_nothing(monkeypatch):
    points = some_points(300)
    whole = carry_points(some_mlp(), points, [1.0], 3)[0]
    monkeypatch.setattr("vitreous.methods.morph.flow.CHUNK", 128)
    np.testing.assert_allclose(carry_points(some_mlp(), points, [1.0], 3)[0], whole, atol=1e-6)
    assert carry_points(some_mlp(), points[:0], [1.0], 3)[0].shape == (0, 3)


def test_the_gradient_of_a_linear_flow_is_its_matrix_exponential():
    spin = np.array([[0.1, -0.6, 0.2], [0.5, 0.05, 0.1], [0.0, 0.3, -0.2]])
    found = deformation_gradient(linear_field(spin), some_points(5), 6)
    exact = scipy.linalg.expm(spin)
    np.testing.assert_allclose(found, np.tile(exact, (5, 1, 1)), atol=1e-5)


def test_training_differentiates_through_the_flow():
    points = jnp.asarray(some_points(6))
    spin = jnp.asarray([[0.0, -0.4, 0], [0.3, 0, 0.1], [0, 0.2, 0]], jnp.float32)

    def spread(m):
        field = MLPVelocity((m,), (jnp.zeros(3),), ORIGIN, 1.0)
        return jnp.sum(carry(field, points, 0.0, 1.0, 3) ** 2) / 100

    slope = jax.grad(spread)(spin)
    change = jnp.asarray(np.random.default_rng(0).normal(size=(3, 3)), jnp.float32)
    finite = (spread(spin + 1e-2 * change) - spread(spin - 1e-2 * change)) / 2e-2
    assert float(jnp.sum(slope * change)) == pytest.approx(float(finite), rel=1e-3)


def test_splines_reproduce_a_uniform_field_and_vanish_far_away():
    uniform = jnp.broadcast_to(jnp.asarray([0.1, 0.2, 0.3]), (1, 8, 8, 8, 3))
    field = SplineVelocity(uniform, (5.0, 5.0, 5.0), 12.0)
    inside = field(jnp.float32(0), jnp.asarray(some_points()))
    # Control points are kept in array order, z first.
    np.testing.assert_allclose(inside, np.tile([[3.6, 2.4, 1.2]], (40, 1)), rtol=1e-5)
    far = field(jnp.float32(0), jnp.full((1, 3), 100.0))
    assert float(jnp.abs(far).max()) == 0
    assert float(jnp.sum(cubic_basis(jnp.arange(-3.0, 4.0) + 0.3))) == pytest.approx(1)


def test_spline_knots_blend_over_time():
    control = jnp.stack([jnp.zeros((8, 8, 8, 3)), jnp.ones((8, 8, 8, 3))])
    field = SplineVelocity(control, (5.0, 5.0, 5.0), 10.0)
    half = field(jnp.float32(0.5), jnp.full((1, 3), 5.0))
    np.testing.assert_allclose(half, np.full((1, 3), 5.0), rtol=1e-5)


@pytest.mark.parametrize("name, order", [("C1", 1), ("C5", 5), ("D3", 6), ("T", 12), ("O", 24)])
def test_point_groups_are_groups_of_rotations(name, order):
    group = point_group(name)
    assert len(group) == order
    np.testing.assert_allclose(group @ group.transpose(0, 2, 1), np.tile(np.eye(3), (order, 1, 1)),
                               atol=1e-6)  # fmt: skip
    np.testing.assert_allclose(np.linalg.det(group), 1, atol=1e-6)


def test_icosahedral_groups_have_sixty_rotations():
    assert len(point_group("I1")) == len(point_group("I2")) == 60


def test_a_symmetric_field_commutes_with_its_group():
    pivot = (5.0, 5.0, 5.0)
    group = point_group("D2")
    field = symmetrise(some_mlp(), group, pivot)
    points = some_points()
    moved = np.asarray(field(jnp.float32(0), jnp.asarray(points)))
    for rotation in group:
        turned = ((points - 5) @ rotation.T + 5).astype(np.float32)
        other = np.asarray(field(jnp.float32(0), jnp.asarray(turned)))
        np.testing.assert_allclose(other, moved @ rotation.T, atol=1e-3)


def test_a_voxel_splats_onto_itself_and_mass_is_kept():
    density = np.random.default_rng(0).random((4, 5, 6)).astype(np.float32)
    points, mass = cloud_of(density, 2.0, (1.0, 2.0, 3.0))
    again = splat(jnp.asarray(points), jnp.asarray(mass), (4, 5, 6), 2.0, (1.0, 2.0, 3.0))
    np.testing.assert_allclose(again, density, atol=1e-6)
    anywhere = jnp.asarray(points) + 37.3
    kept = splat(anywhere, jnp.asarray(mass), (4, 5, 6), 2.0, (1.0, 2.0, 3.0))
    assert float(kept.sum()) == pytest.approx(float(mass.sum()), rel=1e-5)


def test_reading_is_the_adjoint_of_splatting():
    rng = np.random.default_rng(1)
    points = jnp.asarray(rng.uniform(0, 8, (30, 3)), jnp.float32)
    mass = jnp.asarray(rng.random(30), jnp.float32)
    values = jnp.asarray(rng.normal(size=(5, 6, 7)), jnp.float32)
    left = jnp.sum(splat(points, mass, values.shape, 1.5, ORIGIN) * values)
    right = jnp.sum(mass * read_at(values, points, 1.5, ORIGIN))
    assert float(left) == pytest.approx(float(right), rel=1e-4)


def test_a_flat_grid_holds_its_mass():
    flat = splat(jnp.asarray([[1.2, 0.7, 0.4]]), jnp.ones(1), (1, 3, 4), 1.0, ORIGIN)
    assert float(flat.sum()) == pytest.approx(1)


@pytest.fixture
def mesh():
    density = np.zeros((3, 3, 3), np.float32)
    density[1, 1, 1:] = 1
    return build_mesh(density, 2.0, (-1.0, 0.0, 5.0))


def test_neighbours_share_their_vertices(mesh):
    assert mesh.cells.shape == (2, 8)
    assert len(mesh.vertices) == 12


def test_a_linear_map_is_its_own_gradient_on_every_tetrahedron(mesh):
    f = np.random.default_rng(2).normal(size=(3, 3)).astype(np.float32)
    carried = jnp.asarray(mesh.vertices @ f.T + 3)
    found = tetrahedron_gradients(carried, jnp.asarray(mesh.cells), mesh.side)
    np.testing.assert_allclose(found, np.broadcast_to(f, (2, 6, 3, 3)), atol=1e-5)


def test_strain_is_the_peers_sum_over_singular_values():
    f = np.random.default_rng(3).normal(size=(20, 3, 3)).astype(np.float32)
    singular = np.linalg.svd(f, compute_uv=False)
    np.testing.assert_allclose(
        strain_energy(jnp.asarray(f)), ((singular**2 - 1) ** 2).sum(-1), rtol=1e-4
    )
    np.testing.assert_allclose(determinant(jnp.asarray(f)), np.linalg.det(f), rtol=1e-3, atol=1e-5)


def test_rotations_cost_nothing_and_reflections_hit_the_barrier():
    turn = random_rotations(jax.random.key(0), 5)
    assert float(strain_energy(turn).max()) < 1e-10
    assert float(inversion_barrier(turn).max()) == 0
    flipped = turn * jnp.asarray([1.0, 1.0, -1.0])[None, None]
    assert float(strain_energy(flipped).max()) < 1e-10
    assert float(inversion_barrier(flipped).min()) > 10

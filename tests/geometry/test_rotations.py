"""Rotations against RELION's printed matrix, SciPy, exact angles and Haar's moments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from vitreous.geometry.rotations import (
    euler_to_matrix,
    geodesic_distance,
    matrix_to_euler,
    matrix_to_quaternion,
    matrix_to_rotation_vector,
    matrix_to_sixd,
    quaternion_to_matrix,
    random_rotations,
    rotation_vector_to_matrix,
    sixd_to_matrix,
)

GOLDEN = [
    [0.04341204, 0.90961589, -0.41317591],
    [-0.82959837, 0.26325835, 0.49240388],
    [0.5566704, 0.3213938, 0.76604444],
]
angle = st.floats(-180, 180)


def haar(count: int, seed: int = 0) -> np.ndarray:
    return quaternion_to_matrix(np.random.default_rng(seed).normal(size=(count, 4)))


def test_relion_euler_matrix() -> None:
    np.testing.assert_allclose(euler_to_matrix(np.array([30.0, 40.0, 50.0])), GOLDEN, atol=6e-9)
    on_device = euler_to_matrix(jnp.array([30.0, 40.0, 50.0]))
    np.testing.assert_allclose(on_device, GOLDEN, atol=2e-7)


def test_euler_agrees_with_scipy() -> None:
    """RELION's matrix is SciPy's intrinsic ZYZ matrix transposed."""
    angles = np.random.default_rng(1).uniform(-180, 180, (50, 3))
    expected = Rotation.from_euler("ZYZ", angles, degrees=True).as_matrix().swapaxes(-1, -2)
    np.testing.assert_allclose(euler_to_matrix(angles), expected, atol=1e-14)


@given(rot=angle, tilt=st.floats(0, 180), psi=angle)
def test_euler_round_trip(rot: float, tilt: float, psi: float) -> None:
    """The matrix comes back for every tilt, also where rot alone is undefined."""
    matrix = euler_to_matrix(np.array([rot, tilt, psi]))
    np.testing.assert_allclose(euler_to_matrix(matrix_to_euler(matrix)), matrix, atol=1e-7)


@pytest.mark.parametrize("tilt", [0.0, 1e-5, 1e-4, 179.9999, 180.0])
def test_euler_round_trip_near_the_poles_in_single_precision(tilt: float) -> None:
    """Rounding makes rot arbitrary there; psi must make up for it."""
    angles = np.random.default_rng(2).uniform(-180, 180, (200, 3)).astype(np.float32)
    angles[:, 1] = tilt
    matrix = euler_to_matrix(angles)
    np.testing.assert_allclose(euler_to_matrix(matrix_to_euler(matrix)), matrix, atol=1e-6)


def test_quaternions_agree_with_scipy() -> None:
    q = np.random.default_rng(3).normal(size=(100, 4))
    expected = Rotation.from_quat(q, scalar_first=True)
    np.testing.assert_allclose(quaternion_to_matrix(q), expected.as_matrix(), atol=1e-14)
    back = matrix_to_quaternion(expected.as_matrix())
    np.testing.assert_allclose(
        back, expected.as_quat(canonical=True, scalar_first=True), atol=1e-14
    )


def test_half_turns_have_quaternions() -> None:
    """Where w = 0 the usual formula divides by zero."""
    for axis in np.eye(3):
        half_turn = 2 * np.outer(axis, axis) - np.eye(3)
        np.testing.assert_allclose(
            quaternion_to_matrix(matrix_to_quaternion(half_turn)), half_turn, atol=1e-15
        )


@given(x=angle, y=angle, z=angle)
def test_rotation_vectors_agree_with_scipy(x: float, y: float, z: float) -> None:
    vector = np.array([x, y, z])
    expected = Rotation.from_rotvec(vector, degrees=True).as_matrix()
    matrix = rotation_vector_to_matrix(vector)
    np.testing.assert_allclose(matrix, expected, atol=1e-12)
    np.testing.assert_allclose(
        rotation_vector_to_matrix(matrix_to_rotation_vector(matrix)), expected, atol=1e-7
    )


def test_rotation_vectors_have_gradients_at_zero() -> None:
    """exp is the identity plus [ω]× there, so both derivatives are known."""
    forward = jax.jit(jax.jacfwd(rotation_vector_to_matrix))(jnp.zeros(3)) * (180 / np.pi)
    expected = np.zeros((3, 3, 3))
    for i, j, k in [(0, 1, 2), (1, 2, 0), (2, 0, 1)]:
        expected[j, k, i], expected[k, j, i] = -1, 1
    np.testing.assert_allclose(forward, expected, atol=1e-6)

    @jax.jit
    @jax.jacrev
    def there_and_back(vector: jax.Array) -> jax.Array:
        return matrix_to_rotation_vector(rotation_vector_to_matrix(vector))

    np.testing.assert_allclose(there_and_back(jnp.zeros(3)), np.eye(3), atol=1e-6)


def test_sixd_round_trip_and_orthonormality() -> None:
    rotation = haar(20)
    np.testing.assert_allclose(sixd_to_matrix(matrix_to_sixd(rotation)), rotation, atol=1e-14)
    any_six = sixd_to_matrix(np.random.default_rng(4).normal(size=(20, 6)))
    np.testing.assert_allclose(
        any_six @ any_six.swapaxes(-1, -2), np.broadcast_to(np.eye(3), (20, 3, 3)), atol=1e-13
    )
    np.testing.assert_allclose(np.linalg.det(any_six), 1, atol=1e-13)


@pytest.mark.parametrize("turn", [0.0, 1e-4, 0.01, 1.0, 45.0, 90.0, 135.0, 179.9, 179.999, 180.0])
def test_geodesic_distance_keeps_its_digits(turn: float) -> None:
    """Single precision resolves 6e-8 rad ≈ 3e-6°; arccos alone loses 0.02° at both ends."""
    first = haar(50).astype(np.float32)
    axis = np.random.default_rng(5).normal(size=(50, 3))
    axis *= turn / np.linalg.norm(axis, axis=1, keepdims=True)
    second = first @ rotation_vector_to_matrix(axis.astype(np.float32))
    np.testing.assert_allclose(geodesic_distance(first, second), turn, atol=5e-5)


def test_geodesic_distance_is_finite_and_flat_at_zero() -> None:
    gradient = jax.jit(jax.grad(lambda m: geodesic_distance(m, jnp.eye(3))))(jnp.eye(3))
    assert bool(jnp.all(jnp.isfinite(gradient)))


def test_geodesic_distance_is_invariant() -> None:
    a, b, c = haar(30, 1), haar(30, 2), haar(30, 3)
    expected = geodesic_distance(a, b)
    np.testing.assert_allclose(geodesic_distance(c @ a, c @ b), expected, atol=1e-10)
    np.testing.assert_allclose(geodesic_distance(a @ c, b @ c), expected, atol=1e-10)


def test_random_rotations_are_uniform() -> None:
    """Haar: P(angle ≤ θ) = (θ − sin θ)/π, R[2] uniform on the sphere, E[R_ij R_kl] = δδ/3."""
    n = 20000
    rotation = np.asarray(random_rotations(jax.random.key(0), n), np.float64)
    theta = np.sort(np.deg2rad(geodesic_distance(rotation, np.broadcast_to(np.eye(3), (n, 3, 3)))))
    # Kolmogorov–Smirnov: the largest gap exceeds 1.95/√n once in a thousand seeds.
    gap = np.abs((theta - np.sin(theta)) / np.pi - (np.arange(n) + 0.5) / n).max()
    assert gap < 1.95 / np.sqrt(n)
    for row in range(3):
        uniform = np.sort(rotation[:, row, 2])
        assert np.abs((uniform + 1) / 2 - (np.arange(n) + 0.5) / n).max() < 1.95 / np.sqrt(n)
    moment = np.einsum("nij,nkl->ijkl", rotation, rotation) / n
    expected = np.einsum("ik,jl->ijkl", np.eye(3), np.eye(3)) / 3
    np.testing.assert_allclose(moment, expected, atol=5 * 0.3 / np.sqrt(n))


def test_no_rotations_is_an_empty_batch() -> None:
    empty = np.zeros((0, 3))
    assert matrix_to_euler(euler_to_matrix(empty)).shape == (0, 3)
    assert random_rotations(jax.random.key(0), 0).shape == (0, 3, 3)

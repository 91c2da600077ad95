"""Poses as rigid motions: group laws, tangent space, and the sampling grid they are used with."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vitreous.geometry.fourier import half_plane, image_from_half_plane
from vitreous.geometry.rotations import geodesic_distance
from vitreous.geometry.shift import phase_shift
from vitreous.imaging.grid import ImageGrid
from vitreous.imaging.pose import Pose

KEY = jax.random.key(0)


def poses(seed: int, count: int = 5) -> Pose:
    pose = Pose.random(jax.random.key(seed), count, 10.0)
    return Pose(pose.rotation, pose.shift, jnp.linspace(-3.0, 4.0, count))


def test_motions_form_a_group() -> None:
    """Points moved one after the other, and there and back."""
    a, b = poses(1), poses(2)
    points = jax.random.normal(KEY, (7, 3))
    np.testing.assert_allclose(
        a.compose(b).apply(points), a.apply(b.apply(points)), rtol=0, atol=2e-5
    )
    np.testing.assert_allclose(
        a.inverse().apply(a.apply(points)), jnp.broadcast_to(points, (5, 7, 3)), atol=2e-5
    )


def test_every_form_of_a_rotation() -> None:
    pose = Pose.from_euler(jnp.array([30.0, 40.0, 50.0]))
    np.testing.assert_allclose(pose.rotation[2], [0.5566704, 0.3213938, 0.7660444], atol=1e-6)
    np.testing.assert_allclose(pose.angles(), [30.0, 40.0, 50.0], rtol=1e-5)
    quarter = np.sqrt(0.5).item()
    about_z = Pose.from_quaternion(jnp.array([quarter, 0.0, 0.0, quarter]))
    same = Pose.from_rotation_vector(jnp.array([0.0, 0.0, 90.0]))
    np.testing.assert_allclose(about_z.rotation, same.rotation, atol=1e-6)
    # Active about +z: x goes to y.
    np.testing.assert_allclose(same.apply(jnp.array([[1.0, 0.0, 0.0]])), [[0, 1, 0]], atol=1e-6)


def test_the_tangent_leads_from_one_pose_to_another() -> None:
    a, b = poses(3), poses(4)
    there = a.retract(*a.tangent_to(b))
    np.testing.assert_allclose(geodesic_distance(there.rotation, b.rotation), 0, atol=1e-3)
    np.testing.assert_allclose(there.translation(), b.translation(), atol=1e-5)
    slope = jax.jit(jax.jacobian(lambda w: a[0].retract(w).apply(jnp.eye(3))))(jnp.zeros(3))
    # d/dω of exp([ω]×) R e = −[R e]×, in degrees.
    moved = a[0].rotation.T * (np.pi / 180)
    for point, change in zip(moved, slope, strict=True):
        expected = np.cross(np.eye(3), np.asarray(point)).T
        np.testing.assert_allclose(change, expected, atol=1e-6)


def test_poses_batch_and_broadcast() -> None:
    one = Pose.identity()
    assert one.batch == ()
    many = Pose(jnp.broadcast_to(jnp.eye(3), (4, 3, 3)), jnp.array([1.0, 2.0]), 5.0)
    assert many.shift.shape == (4, 2)
    assert many.z_offset.shape == (4,)
    assert many[1:3].batch == (2,)
    np.testing.assert_array_equal(many[2].shift, [1.0, 2.0])
    mapped = jax.vmap(lambda p: p.inverse().z_offset)(many)
    np.testing.assert_array_equal(mapped, -5.0)


@pytest.mark.parametrize("box", [6, 7])
def test_frequencies_are_those_of_the_half_plane(box: int) -> None:
    """A delta moved by whole pixels with phases of `frequencies` and lengths of `coordinates`."""
    grid = ImageGrid(box, 1.7)
    image = jnp.zeros((box, box)).at[box // 2, box // 2].set(1.0)
    k = grid.frequencies().reshape(-1, 2)
    moved = half_plane(image).reshape(-1) * phase_shift(k, jnp.array([1.7, -3.4]))
    found = image_from_half_plane(moved.reshape(box, grid.columns), box)
    place = jnp.sum(found[..., None] * grid.coordinates(), axis=(0, 1))
    np.testing.assert_allclose(place, [1.7, -3.4], atol=1e-4)
    assert float(grid.nyquist) == pytest.approx(0.5 / 1.7)
    assert grid.weights().shape == (grid.columns,)


def test_grids_of_other_sides() -> None:
    grid = ImageGrid(30, 2.0)
    assert grid.padded(1.0).box == 30
    assert (grid.padded(1.5).box, float(grid.padded(1.5).pixel_size)) == (45, 2.0)
    fine = grid.refined(1.5)
    assert float(fine.extent) == pytest.approx(60.0)
    for wrong in (lambda: ImageGrid(0, 1.0), lambda: ImageGrid(8, -1.0), lambda: grid.padded(0.9)):
        with pytest.raises(ValueError, match="not"):
            wrong()


def test_one_grid_serves_two_compiled_functions() -> None:
    """Nothing is remembered in a grid, so no traced value can leak out of one function."""
    grid = ImageGrid(8, 1.5)
    first = jax.jit(lambda x: x * jnp.sum(grid.frequencies()))
    second = jax.jit(lambda x: x + jnp.sum(grid.coordinates()))
    assert np.isfinite(first(1.0) + second(1.0))
    as_argument = jax.jit(lambda g: g.extent)
    assert float(as_argument(grid)) == pytest.approx(12.0)
    assert float(jax.grad(lambda p: ImageGrid(8, p).extent)(jnp.float32(1.5))) == 8.0

"""SO(3) grids: HEALPix's own numbers, Haar moments, coverage, and the tree of cells."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vitreous.geometry.rotations import geodesic_distance, random_rotations
from vitreous.geometry.so3_grid import (
    angular_step,
    children,
    direction_angles,
    grid_rotations,
    grid_size,
    in_plane_count,
    order_for_step,
    parents,
    so3_grid,
)


def test_sizes_and_steps() -> None:
    assert [grid_size(o) for o in range(4)] == [72, 576, 4608, 36864]
    assert [angular_step(o) for o in range(4)] == [60, 30, 15, 7.5]
    assert [order_for_step(s) for s in (100.0, 60.0, 59.0, 15.0, 14.0, 7.5)] == [0, 0, 1, 2, 3, 3]
    with pytest.raises(ValueError, match="positive"):
        order_for_step(0.0)


def test_base_directions_are_healpix() -> None:
    """The twelve base pixels lie at z = ⅔, 0, −⅔, and at rot = 45° + 90°k or 90°k."""
    rot, tilt, _ = direction_angles(0).T
    np.testing.assert_allclose(
        np.cos(np.deg2rad(tilt)), np.repeat([2 / 3, 0, -2 / 3], 4), atol=1e-15
    )
    np.testing.assert_allclose(rot[:4], [45, 135, 225, 315])
    np.testing.assert_allclose(rot[4:8], [0, 90, 180, 270])


@pytest.mark.parametrize("order", [0, 1, 2])
def test_the_grid_is_even(order: int) -> None:
    """Means over the grid are Haar's: first moments exactly, second within the cell's size."""
    grid = so3_grid(order).astype(np.float64)
    np.testing.assert_allclose(grid.mean(axis=0), 0, atol=1e-7)
    moment = np.einsum("nij,nkl->ijkl", grid, grid) / len(grid)
    expected = np.einsum("ik,jl->ijkl", np.eye(3), np.eye(3)) / 3
    np.testing.assert_allclose(moment, expected, atol=0.04 / 4**order)


@pytest.mark.parametrize("order", [0, 1])
def test_every_rotation_has_a_near_grid_point(order: int) -> None:
    grid = so3_grid(order)
    anywhere = np.asarray(random_rotations(jax.random.key(order), 300))
    nearest = geodesic_distance(anywhere[:, None], grid[None]).min(axis=1)
    assert nearest.max() < 0.9 * angular_step(order)
    apart = geodesic_distance(grid[:, None], grid[None])
    np.fill_diagonal(apart, np.inf)
    assert apart.min() > 0.9 * angular_step(order)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_children_tile_their_parents(order: int) -> None:
    index = np.arange(grid_size(order))
    family = children(index, order)
    assert sorted(family.ravel()) == list(range(grid_size(order + 1)))
    assert (parents(family, order + 1) == index[:, None]).all()
    distance = geodesic_distance(
        grid_rotations(family, order + 1), grid_rotations(index, order)[:, None]
    )
    # Cells have a side of one step, so children lie within half a diagonal, √3/2.
    assert distance.max() < 0.8 * angular_step(order)


def test_in_plane_angles_share_their_direction() -> None:
    rotation = so3_grid(1).reshape(48, in_plane_count(1), 3, 3)
    np.testing.assert_allclose(
        rotation[:, :, 2], np.broadcast_to(rotation[:, :1, 2], rotation[:, :, 2].shape), atol=1e-6
    )


def test_traced_indices_give_the_same_rotations() -> None:
    index = np.array([0, 17, 575])
    traced = jax.jit(lambda i: grid_rotations(children(i, 1), 2))(jnp.asarray(index))
    np.testing.assert_allclose(traced, grid_rotations(children(index, 1), 2), atol=1e-6)

"""Grids of one asymmetric unit: as fine as the whole, with one rotation of each set of copies."""

import jax
import numpy as np
import pytest

from vitreous.geometry.point_groups import point_group
from vitreous.geometry.rotations import (
    geodesic_distance,
    random_rotations,
    rotation_vector_to_matrix,
)
from vitreous.geometry.so3_grid import grid_size
from vitreous.methods.abinitio.orientations import (
    in_unit,
    moved_angle,
    spread_over_copies,
    trial_grid,
    turned,
    unit_grid,
)
from vitreous.methods.abinitio.splitting import along_axes
from vitreous.metrics.poses import pose_errors
from vitreous.reconstruction.volume_alignment import Alignment

ORDER = 1


@pytest.mark.parametrize("name", ["C1", "C2", "C4", "D2", "O"])
def test_a_unit_holds_its_share_of_the_grid_and_leaves_no_gap(name):
    group, some = point_group(name), np.asarray(random_rotations(jax.random.key(1), 200))
    grid = turned(unit_grid(ORDER, name), jax.random.key(2), group)
    share = grid_size(ORDER) / len(group)
    # Ties on the border are kept on both sides.
    assert share <= len(grid) < 1.6 * share + 8
    # A step of 30°: nothing is farther from the whole grid than 24°, from a lone unit twice that.
    near = moved_angle(np.repeat(some, len(grid), axis=0), np.tile(grid, (200, 1, 1)), group)
    assert near.reshape(200, -1).min(axis=1).max() < 30
    if len(group) > 1:
        alone = geodesic_distance(some[:, None], np.asarray(grid)[None]).min(axis=1)
        assert alone.max() > 45


def test_neighbours_are_found_across_the_border():
    group = point_group("C4")
    grid, neighbours = trial_grid(ORDER, "C4")
    angle = moved_angle(np.repeat(grid, 10, axis=0), grid[neighbours.reshape(-1)], group)
    assert angle.max() < 40
    straight = geodesic_distance(np.repeat(grid, 10, axis=0), grid[neighbours.reshape(-1)])
    assert straight.max() > 60


def test_only_one_copy_is_in_the_unit():
    group = point_group("D2")
    some = np.asarray(random_rotations(jax.random.key(3), 50))
    copies = np.stack([in_unit(some @ copy.astype(np.float32), group) for copy in group])
    np.testing.assert_array_equal(copies.sum(axis=0), 1)


def test_poses_spread_over_copies_are_the_same_poses():
    some = np.asarray(random_rotations(jax.random.key(4), 80))
    spread = spread_over_copies(some, point_group("C3"), seed=0)
    assert (geodesic_distance(some, spread) > 100).mean() > 0.5
    # Directions are good to about 0.03° in single precision.
    assert moved_angle(spread, some, point_group("C3")).max() < 0.1
    assert pose_errors(spread, some, symmetry="C3").angle.max() < 0.1
    np.testing.assert_array_equal(spread_over_copies(some, point_group("C1"), 0), some)


@pytest.mark.parametrize("name", ["C1", "C3", "D2", "D4"])
def test_alignments_of_symmetric_maps_keep_their_axes(name):
    group = point_group(name)
    rng = np.random.default_rng(0)
    # A flip about x brings all these axes onto themselves; so does any turn about that of C3.
    angle = {"C1": 17.0, "C3": 17.0, "D2": 90.0, "D4": 45.0}[name]
    exact = rotation_vector_to_matrix(np.array([0, 0, angle])) @ np.diag([1.0, -1.0, -1.0])
    off = rotation_vector_to_matrix(rng.normal(0, 3, 3))
    found = along_axes(Alignment(off @ exact, np.array([1.0, 2.0, 3.0]), False, 0.9), group)
    assert found is not None
    mapped = found.rotation @ group @ found.rotation.T
    assert max(geodesic_distance(m[None], group).min() for m in mapped) < 1e-4
    assert geodesic_distance(found.rotation[None], (off @ exact)[None])[0] < 10
    np.testing.assert_allclose(
        group @ found.shift, np.tile(found.shift, (len(group), 1)), atol=1e-9
    )
    if name == "D4":
        crossed = rotation_vector_to_matrix(np.array([90.0, 0, 0]))
        assert along_axes(Alignment(crossed, np.zeros(3), False, 0.9), group) is None

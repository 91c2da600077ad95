"""Distances between the shapes of maps: what turns, mirrors, shifts and bends are known to cost."""

import numpy as np
import pytest
from scipy.ndimage import map_coordinates
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation

from vitreous.metrics import (
    deformation_distance,
    gromov_wasserstein,
    map_distances,
    point_cloud,
    procrustes_wasserstein,
)
from vitreous.metrics.deformation import polynomials

RNG = np.random.default_rng(4)
POINTS = 6 * RNG.standard_normal((20, 3))
TURN = Rotation.random(random_state=1).as_matrix()


def blobs(centres, box=24, width=1.8):
    axis = np.arange(box) - box // 2
    bells = np.exp(-((axis - centres[:, :, None]) ** 2) / (2 * width**2))
    return np.einsum("bz,by,bx->zyx", *(bells[:, k] for k in (2, 1, 0))).astype(np.float32)


CHAIN = np.cumsum(RNG.standard_normal((10, 3)), axis=0)
CHAIN = 6 * (CHAIN - CHAIN.mean(axis=0)) / np.abs(CHAIN - CHAIN.mean(axis=0)).max()


def test_turned_clouds_are_the_same_and_mirrored_ones_only_to_distances():
    shuffled = POINTS[RNG.permutation(20)] @ TURN.T
    centred = [p - p.mean(axis=0) for p in (POINTS, shuffled)]
    assert procrustes_wasserstein(*centred) == pytest.approx(0, abs=1e-6)
    assert gromov_wasserstein(*centred) == pytest.approx(0, abs=1e-4)
    mirrored = centred[1] * [1, 1, -1]
    assert procrustes_wasserstein(centred[0], mirrored) > 0.5
    assert gromov_wasserstein(centred[0], mirrored) == pytest.approx(0, abs=1e-4)


def test_distances_of_clouds_are_those_of_their_best_matching():
    small = POINTS[:6] - POINTS[:6].mean(axis=0)
    # Two points at a, two at b apart: the distances between them differ by |a − b|.
    pair = np.array([[1.0, 0, 0], [-1, 0, 0]])
    assert gromov_wasserstein(pair, 2 * pair) == pytest.approx(2 / np.sqrt(2))
    assert procrustes_wasserstein(pair, 2 * pair) == pytest.approx(1)
    # Any matching bounds it from above, the one of the same points among them.
    noisy = small + 0.3 * RNG.standard_normal(small.shape)
    bound = np.sqrt(np.mean((cdist(small, small) - cdist(noisy, noisy)) ** 2))
    assert gromov_wasserstein(small, noisy) <= bound + 1e-9
    rmsd = np.sqrt(np.mean(np.sum((small - noisy) ** 2, axis=1)))
    assert procrustes_wasserstein(small, noisy) <= rmsd + 1e-9


def test_a_cloud_lies_where_the_density_is():
    cloud = point_cloud(blobs(np.array([[5.0, 2, 0], [-5, -2, 0]]), width=1.0), 3.0, 14)
    assert cloud.shape == (14, 3)
    np.testing.assert_allclose(cloud.mean(axis=0), 0, atol=1e-9)
    assert np.abs(np.abs(cloud[:, 0]) - 15).max() < 4
    # A finer map of the same width gives the same places.
    fine = point_cloud(blobs(2 * CHAIN, 48, 3.6), 1.5)
    coarse = point_cloud(blobs(CHAIN), 3.0)
    assert procrustes_wasserstein(fine, coarse) < 0.5


def bent(volume, field):
    """Bend a map by a field (voxels): what comes out, and the true distance in voxels."""
    made = map_coordinates(volume, np.indices(volume.shape) + field, order=3)
    square = np.average(np.sum(field**2, axis=0), weights=np.maximum(made, 0))
    return made, np.sqrt(square)


Z, Y, X = np.indices((24,) * 3) - 12.0


@pytest.mark.parametrize(
    "field",
    [[0.1 * Z, 0 * Y, 0 * X], [0.015 * Y**2 - 0.5, 0.1 * X, 0.002 * Z * X * Y]],
    ids=["swelling", "bending"],
)
def test_bending_is_measured_in_ångströms(field):
    """A map with detail everywhere shows all of a field: 1 % is left to interpolation."""
    inside = RNG.standard_normal((120, 3))
    inside *= 8 * RNG.random((120, 1)) ** (1 / 3) / np.linalg.norm(inside, axis=1)[:, None]
    detailed = blobs(inside, width=1.2)
    made, true = bent(detailed, np.stack(field))
    assert true > 0.3
    # Neither map's scale is known.
    assert deformation_distance(detailed, 3 * made, 2.5) == pytest.approx(2.5 * true, rel=0.01)


def test_what_slides_along_even_density_does_not_show():
    smooth = blobs(CHAIN, width=2.0)
    made, true = bent(smooth, np.stack([0.015 * Y**2 - 0.5, 0.1 * X, 0.002 * Z * X * Y]))
    # The least bending that explains the map is less than the true one.
    assert 0.92 * true < deformation_distance(smooth, made) < 1.01 * true
    moved = blobs(CHAIN + np.eye(3)[0], width=2.0)
    assert deformation_distance(smooth, moved, 2.5) == pytest.approx(2.5, rel=0.01)
    assert deformation_distance(smooth, 3 * smooth, 2.5) == pytest.approx(0, abs=1e-6)


def test_polynomials_span_what_they_say():
    places = RNG.uniform(-1, 1, (200, 3))
    basis = polynomials(places, 3)
    assert basis.shape == (200, 20)
    np.testing.assert_allclose(basis.T @ basis, 200 * np.eye(20), atol=1e-9)
    x, y, z = places.T
    value = 1 - 2 * x * y * z + y**3 - 0.5 * z**2
    np.testing.assert_allclose(basis @ (basis.T @ value) / 200, value, atol=1e-9)


@pytest.mark.parametrize("kind", ["procrustes", "gromov", "zernike"])
def test_every_shape_knows_its_map_among_others(kind):
    longer = [blobs(CHAIN * [1, s, 1]) for s in (0.7, 1.0, 1.35)]
    cost = map_distances(np.stack(longer[:1]), np.stack(longer[::-1]), kind, 2.0)
    assert cost.shape == (1, 3)
    assert cost[0, 0] > cost[0, 1] > cost[0, 2]

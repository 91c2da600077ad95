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


def test_bending_is_measured_in_ångströms():
    straight = blobs(CHAIN, width=2.0)
    z, y, x = np.indices(straight.shape) - 12.0
    field = np.stack([0.015 * y**2 - 0.5, 0.1 * x, 0.002 * z * x * y])
    bent = map_coordinates(straight, np.indices(straight.shape) + field, order=3)
    true = 2.5 * np.sqrt(np.average(np.sum(field**2, axis=0), weights=np.maximum(bent, 0)))
    assert true > 1
    # What slides along surfaces does not show: the least bending that explains the map is less.
    assert 0.85 * true < deformation_distance(straight, bent, 2.5) < 1.02 * true
    moved = blobs(CHAIN + np.eye(3)[0], width=2.0)
    assert deformation_distance(straight, moved, 2.5) == pytest.approx(2.5, rel=0.02)
    assert deformation_distance(straight, 3 * straight, 2.5) == pytest.approx(0, abs=1e-6)


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

"""Dimension and leaks of a latent, against clouds for which both are known."""

import numpy as np
import pytest

from vitreous.analysis.latent_structure import latent_structure
from vitreous.geometry.rotations import euler_to_matrix
from vitreous.metrics.information_imbalance import (
    euclidean_distances,
    information_imbalance,
    rotation_distances,
)
from vitreous.metrics.intrinsic_dimension import intrinsic_dimension
from vitreous.particles import read_particles

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("dimension", [1, 2, 4])
def test_the_dimension_of_a_flat_sheet(dimension):
    frame = np.linalg.qr(RNG.normal(size=(8, 8)))[0][:dimension]
    # Its deviation at 4,000 points is d / √4000; boundaries lower the value a little.
    found = intrinsic_dimension(RNG.uniform(size=(4000, dimension)) @ frame)
    assert found == pytest.approx(dimension, rel=0.08)
    assert np.isnan(intrinsic_dimension(np.zeros((50, 3))))


def test_imbalance_tells_direction():
    x = RNG.normal(size=(400, 2))
    both, one = euclidean_distances(x), euclidean_distances(x[:, :1])
    forward, backward = information_imbalance(both, one)
    # Both coordinates tell the first; the first does not tell both.
    assert forward < 0.1
    assert backward > 0.3
    assert information_imbalance(both, 3 * both) == pytest.approx((2 / 400, 2 / 400))
    noise = euclidean_distances(RNG.normal(size=(400, 2)))
    assert information_imbalance(both, noise) == pytest.approx((1, 1), abs=0.1)
    # Where all distances tie, nothing is said.
    assert information_imbalance(both, np.ones((400, 400))) == pytest.approx((1, 1), abs=5e-3)


def test_distances_of_rotations_are_angles():
    rotation = euler_to_matrix(np.array([[0.0, 0, 0], [0, 0, 30], [0, 90, 0]]))
    both = 2 * np.degrees(np.arccos(np.cos(np.radians(15)) * np.cos(np.radians(45))))
    expected = [[0, 30, 90], [30, 0, both], [90, both, 0]]
    np.testing.assert_allclose(rotation_distances(rotation), expected, atol=1e-4)


def test_a_latent_that_knows_defocus_is_found_out(shared_data):
    table = read_particles(shared_data / "particles" / "igg-64" / "particles.star")
    table = table.select(np.arange(800))
    blind = RNG.normal(size=(800, 2)).astype(np.float32)
    structure = latent_structure(blind, table, compared=500)
    assert structure.dimension == pytest.approx(2, rel=0.2)
    assert {"view", "pose", "defocus"} == set(structure.leaks)
    assert all(leak.significance < 4 for leak in structure.leaks.values())
    defocus = (table.ctf.defocus_u - table.ctf.defocus_u.mean()) / table.ctf.defocus_u.std()
    knowing = np.stack([blind[:, 0], 2 * defocus], axis=1)
    leaks = latent_structure(knowing, table, compared=500).leaks
    assert leaks["defocus"].significance > 5
    assert leaks["defocus"].imbalance < 0.7
    assert leaks["view"].significance < 4

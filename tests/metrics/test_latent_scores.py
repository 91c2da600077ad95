"""Latent scores on clouds whose answer is known."""

import numpy as np
import pytest

from vitreous.errors import InputError
from vitreous.metrics import (
    Truth,
    circular_correlation,
    circular_rank_correlation,
    graph_coordinates,
    nearest_neighbours,
    neighbour_r2,
    neighbourhood_similarity,
    plane_angle,
    read_truth,
    score_latent,
    spearman,
    state_accuracy,
)

RNG = np.random.default_rng(0)


def test_neighbours_leave_the_point_out_even_among_twins():
    points = np.array([[0.0], [0.0], [0.0], [5.0]])
    found = nearest_neighbours(points, 2)
    assert all(i not in row for i, row in enumerate(found))
    np.testing.assert_array_equal(np.sort(found[:3]), [[1, 2], [0, 2], [0, 1]])


def test_accuracy_of_clusters_and_of_chance():
    labels = RNG.integers(0, 4, 400)
    apart = labels[:, None] * 10.0 + RNG.standard_normal((400, 2))
    assert state_accuracy(apart, labels) == 1
    assert state_accuracy(RNG.standard_normal((400, 2)), labels) < 0.35
    # One point alone in its state can never be predicted by others.
    assert state_accuracy(apart, np.where(np.arange(400) == 0, 9, labels)) == 1 - 1 / 400


def test_neighbour_regression():
    x = np.linspace(0, 1, 500)
    line = np.stack([x, np.zeros(500)], axis=1)
    assert neighbour_r2(line, (x**2)[:, None], k=5) > 0.999
    # The mean of k unrelated values has variance 1/k: R² = −1/k.
    noise = RNG.standard_normal((4000, 1))
    assert neighbour_r2(RNG.standard_normal((4000, 2)), noise, k=10) == pytest.approx(
        -0.1, abs=0.05
    )


def test_neighbourhood_similarity_is_one_for_a_rotation_and_chance_for_noise():
    points = RNG.standard_normal((300, 3))
    turn = np.linalg.qr(RNG.standard_normal((3, 3)))[0]
    assert neighbourhood_similarity(points, points @ turn * 3, 20) == 1
    chance = neighbourhood_similarity(points, RNG.standard_normal((300, 3)), 20)
    assert chance == pytest.approx(20 / 299, abs=0.02)


def test_spearman_knows_only_order():
    x = RNG.standard_normal(100)
    assert spearman(x, np.exp(x)) == pytest.approx(1)
    assert spearman(x, -(x**3)) == pytest.approx(-1)


def test_circular_correlation_is_the_pairwise_sum():
    a, b = 360 * RNG.random((2, 40))
    b += a
    sa, sb = (np.sin(np.deg2rad(x[:, None] - x)) for x in (a, b))
    direct = np.sum(sa * sb) / np.sqrt(np.sum(sa**2) * np.sum(sb**2))
    assert circular_correlation(a, b) == pytest.approx(direct)
    assert circular_correlation(a, a + 77) == pytest.approx(1)
    assert circular_correlation(a, 20 - a) == pytest.approx(-1)


def test_circular_rank_correlation_ignores_uneven_speed_and_origin():
    a = np.sort(360 * RNG.random(200))
    warped = a + 40 * np.sin(np.deg2rad(a)) + 123  # monotone: 40° · π/180 < 1
    assert circular_rank_correlation(a, warped) == pytest.approx(1, abs=1e-3)
    assert circular_rank_correlation(a, -warped) == pytest.approx(-1, abs=1e-3)
    assert abs(circular_rank_correlation(a, RNG.permutation(a))) < 0.1


def test_plane_angle_of_a_circle_in_eight_dimensions():
    angle = 360 * RNG.random(300)
    frame = np.linalg.qr(RNG.standard_normal((8, 2)))[0]
    circle = np.stack([np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))], 1) @ frame.T
    found = plane_angle(circle + 0.02 * RNG.standard_normal((300, 8)) + 4)
    assert abs(circular_rank_correlation(found, angle)) > 0.99


@pytest.mark.parametrize("largest", [1000, 300])
def test_graph_coordinates_unroll_a_spiral(largest):
    t = np.sort(RNG.random(600))
    phase = 3 * np.pi * t
    spiral = np.stack([np.cos(phase) * (1 + phase), np.sin(phase) * (1 + phase)], axis=1)
    order = graph_coordinates(spiral, count=1, k=6, largest=largest)[:, 0]
    assert abs(spearman(order, t)) > 0.99
    assert abs(spearman(spiral[:, 0], t)) < 0.9


def test_scores_of_a_line_and_of_a_circle():
    t = RNG.random(500)
    labels = (t * 5).astype(int)
    line = np.stack([t * 3, 0.01 * RNG.standard_normal(500)], axis=1).astype(np.float32)
    table = score_latent(line, Truth(labels=labels, coordinate=t * 30))
    assert set(table) == {
        "state accuracy (15 neighbours)",
        "neighbour R² (15 neighbours)",
        "|Spearman|, first component",
        "|Spearman|, along the graph",
    }
    assert min(table.values()) > 0.9
    turn = 2 * np.pi * t
    circle = np.stack([np.cos(turn), np.sin(turn)], axis=1).astype(np.float32)
    table = score_latent(circle, Truth(labels=labels, coordinate=t, period=1.0))
    assert len(table) == 4
    assert min(table.values()) > 0.9


def test_truth_file_round_trip(tmp_path):
    path = tmp_path / "truth.npz"
    np.savez(path, labels=[1, 0, 1], t=[0.0, 0.5], vols=np.zeros((2, 4, 4, 4)), apix=2.0)
    truth = read_truth(path)
    np.testing.assert_array_equal(truth.coordinate, [0.5, 0, 0.5])
    assert truth.period == 1
    assert truth.pixel_size == 2
    np.testing.assert_array_equal(truth.select(np.array([1])).labels, [0])
    np.savez(path, t=[-20.0, 5.0, 40.0])
    assert read_truth(path).period is None


@pytest.mark.parametrize(
    "fields",
    [
        {"other": [1]},
        {"labels": [0, 3], "vols": np.zeros((2, 4, 4, 4))},
        {"labels": [0, 1], "R": np.zeros((3, 3, 3))},
        {"labels": [0, 1, 2], "t": [0.0, 1.0]},
    ],
)
def test_a_truth_that_does_not_fit_is_refused(tmp_path, fields):
    path = tmp_path / "truth.npz"
    np.savez(path, **fields)
    with pytest.raises(InputError, match=r"truth\.npz"):
        read_truth(path)


def test_a_truth_that_is_no_archive_is_refused(tmp_path):
    path = tmp_path / "truth.npz"
    with pytest.raises(InputError, match="no such file"):
        read_truth(path)
    path.write_text("hello")
    with pytest.raises(InputError, match=r"not a \.npz"):
        read_truth(path)

"""Scores of challenges against closed forms: maps, populations, neighbourhoods, conformations."""

import numpy as np
import pytest

from vitreous.metrics import (
    captured_variance,
    cryobench_auc,
    earth_movers_distance,
    fsc_score,
    map_distances,
    neighbourhood_curve,
    neighbourhood_similarity,
    normalise,
    normalise_b_factor,
    published_rows,
    score_per_conformation,
    score_per_image,
    score_populations,
    subspace_maps,
)
from vitreous.metrics.published import PUBLISHED

RNG = np.random.default_rng(0)
BOX = 16


def maps(count, seed=0):
    return np.random.default_rng(seed).standard_normal((count, BOX, BOX, BOX)).astype(np.float32)


@pytest.mark.parametrize("kind", ["l2", "correlation", "bioem3d", "fsc", "resolution"])
def test_every_distance_knows_a_map_from_the_others(kind):
    truth = maps(4)
    # A little noise, so that no residual is only rounding.
    submitted = truth[[2, 0, 3, 1]] + 0.1 * maps(4, 1)
    cost = map_distances(truth, submitted, kind, 1.5)
    assert cost.shape == (4, 4)
    assert cost.argmin(axis=1).tolist() == [1, 3, 0, 2]


def test_distances_are_what_they_say():
    a, b = maps(2), maps(3, 1)
    flat = [m.reshape(len(m), -1).astype(np.float64) for m in (a, b)]
    np.testing.assert_allclose(
        map_distances(a, b, "l2"),
        np.sum((flat[0][:, None] - flat[1][None]) ** 2, axis=-1),
        rtol=1e-6,
    )
    np.testing.assert_allclose(map_distances(a, b, "correlation"), -flat[0] @ flat[1].T, rtol=1e-5)
    np.testing.assert_allclose(np.diag(map_distances(a, a, "fsc")), 0, atol=1e-5)
    assert map_distances(a, a, "resolution", 1.5)[0, 0] == 3.0
    # Two independent maps: each shell's FSC is chance.
    assert map_distances(a, b, "fsc").min() > 0.8


def test_the_evidence_is_the_integral():
    """Against numbers: grids over scale, offset and noise level of a few voxels."""
    generator = np.random.default_rng(3)
    model = generator.standard_normal((2, 2, 2, 2))
    seen = (2.0 * model[:1] + 0.5 + 0.7 * generator.standard_normal((1, 2, 2, 2))).reshape(1, -1)
    found = map_distances(seen.reshape(1, 2, 2, 2), model, "bioem3d")[0]
    n = 8
    scale, offset = np.linspace(-25, 25, 401), np.linspace(-25, 25, 401)
    noise = np.geomspace(0.05, 200, 400)
    logs = []
    for one in model.reshape(2, -1):
        part = seen[0][None, None] - scale[:, None, None] * one - offset[None, :, None]
        square = np.sum(part**2, axis=-1)
        inner = [np.sum(np.exp(-n * np.log(s) - 0.5 * square / s**2)) * s for s in noise.tolist()]
        logs.append(np.log(np.sum(inner)))
    # Up to a constant shared by all models of the same data.
    assert found[0] - found[1] == pytest.approx(logs[1] - logs[0], abs=0.05)


def test_normalised_maps_forget_scale_and_offset():
    made = normalise(np.stack([maps(1)[0], 3 * maps(1)[0] + 7]))
    np.testing.assert_allclose(made[0], made[1], atol=1e-5)
    assert np.median(made[0]) == pytest.approx(0, abs=1e-6)


def test_captured_variance_is_one_within_the_span_and_less_outside():
    basis = maps(3)
    truth = np.einsum("km,mxyz->kxyz", RNG.standard_normal((20, 3)), basis).astype(np.float32)
    same = np.einsum("km,mxyz->kxyz", RNG.standard_normal((15, 3)), basis).astype(np.float32)
    assert captured_variance(truth, same, 3) == pytest.approx((1, 1), abs=1e-4)
    assert max(captured_variance(truth, maps(15, 9), 3)) < 0.2
    # One direction spans the leading one of the truth by the cosine of their angle.
    one = (RNG.standard_normal(15)[:, None, None, None] * basis[0]).astype(np.float32)
    flat = truth.reshape(20, -1).astype(np.float64)
    leading = np.linalg.svd(flat - flat.mean(axis=0), full_matrices=False)[2][0]
    cosine = abs(leading @ basis[0].ravel()) / np.linalg.norm(basis[0])
    assert captured_variance(truth, one, 1) == pytest.approx((cosine, cosine), abs=1e-4)


@pytest.mark.parametrize("n", [20, 21])
def test_one_wave_a_shell_gets_the_amplitude_of_the_formula(n):
    """Alone in a shell of N points its height is `√(2N) exp(−B k² / 4) / n³`, whatever it was."""
    voxel, b = 1.5, 170.0
    place = np.arange(n) - n // 2
    angles = 2 * np.pi * np.stack(np.meshgrid(place, place, place, indexing="ij")) / n
    waves = np.stack([np.cos(3 * angles[2]), np.sin(5 * angles[0] + 0.4)])
    given = np.stack([7 * waves[0] + 0.02 * waves[1], waves[0] - 3 * waves[1]]).astype(np.float32)
    k = np.fft.fftshift(np.fft.fftfreq(n, 1 / n))
    radius = np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k**2)
    heights = [
        np.sqrt(2 * np.sum(np.rint(radius) == s)) / n**3 * np.exp(-b * (s / n / voxel) ** 2 / 4)
        for s in (3, 5)
    ]
    expected = np.stack([heights[0] * waves[0] + sign * heights[1] * waves[1] for sign in (1, -1)])
    scale = np.abs(expected).max()
    made = normalise_b_factor(given, voxel)
    np.testing.assert_allclose(made / scale, expected / scale, atol=1e-4)
    # Sixteen voxels hold both waves: the same formula on a coarser grid.
    place = (np.arange(16) - 8) * 2 * np.pi / 16
    coarse = subspace_maps(given, voxel)
    assert coarse.shape == (2, 16, 16, 16)
    shown = heights[0] * np.cos(3 * place)[None, None] + heights[1] * np.sin(5 * place + 0.4)[
        :, None, None
    ] * np.ones((16, 16, 16))
    np.testing.assert_allclose(coarse[0] / scale, shown / scale, atol=1e-4)


def test_sharpening_does_not_change_the_span():
    truth = maps(6)
    k = np.fft.fftfreq(BOX)
    radius = np.rint(BOX * np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k**2))
    damping = np.exp(-9 * (radius / BOX) ** 2)
    blurred = np.fft.ifftn(np.fft.fftn(truth, axes=(1, 2, 3)) * damping, axes=(1, 2, 3)).real
    plain = np.mean(captured_variance(truth, blurred.astype(np.float32)))
    pair = [subspace_maps(m.astype(np.float32), 2.0) for m in (truth, blurred)]
    assert np.mean(captured_variance(*pair)) > 0.999 > 0.99 > plain


def test_the_earth_movers_distance_on_a_line():
    # On a line it is the area between the cumulative distributions.
    x = np.arange(6.0)
    p, q = RNG.random((2, 6))
    p, q = p / p.sum(), q / q.sum()
    expected = np.abs(np.cumsum(p - q))[:-1].sum()
    assert earth_movers_distance(p, q, np.abs(x[:, None] - x)) == pytest.approx(expected, abs=1e-9)


def test_true_populations_cost_least():
    truth = np.repeat([0.5, 0.3, 0.2], 10) / 10
    place = np.repeat([0.0, 5.0, 9.0], 10) + 0.1 * RNG.random(30)
    cost = np.abs(place[:, None] - np.array([0.0, 5.0, 9.0]))
    exactly = {"order": None, "replicates": 1, "share": 1.0}
    right = score_populations(cost, truth, np.array([50.0, 30, 20]), **exactly)
    assert right.emd == pytest.approx(right.emd_best, abs=1e-9)
    assert right.kl_forward == pytest.approx(0, abs=1e-9)
    claimed = np.array([10.0, 10, 80])
    wrong = score_populations(cost, truth, claimed, **exactly)
    assert wrong.emd > right.emd + 0.1
    expected = np.sum([0.5, 0.3, 0.2] * np.log([5, 3, 0.25]))
    assert wrong.kl_forward == pytest.approx(expected, abs=1e-6)
    # Pooled windows and replicates of nine tenths still know one from the other.
    pooled = [
        score_populations(cost, truth, p, place, replicates=8)
        for p in (np.array([50.0, 30, 20]), claimed)
    ]
    assert pooled[0].emd < pooled[1].emd
    assert pooled[0].emd_best == pytest.approx(pooled[1].emd_best)


def test_neighbourhoods_of_all_sizes_agree_with_one():
    first, second = RNG.standard_normal((2, 200, 3))
    second = first + 0.5 * second
    curve = neighbourhood_curve(first, second, (5, 20, 5000), subsets=1)
    assert curve.k == [5, 20]
    for k, value in zip(curve.k, curve.mean, strict=True):
        assert value == pytest.approx(neighbourhood_similarity(first, second, k), abs=1e-12)
    same = neighbourhood_curve(first, 3 * first, (5, 20))
    np.testing.assert_allclose(same.mean, 1)
    np.testing.assert_allclose(same.deviation, 0)


def test_areas_of_cryobench_and_of_the_house():
    a, b = maps(2)
    b = a + b
    area, half, gold = fsc_score(a, b, 2.0)
    assert area == pytest.approx(cryobench_auc(a, b), abs=1e-6)
    assert half >= gold >= 4.0
    assert fsc_score(a, a, 2.0) == pytest.approx(((8 - 1) / 16, 4.0, 4.0))
    assert fsc_score(a, a, 2.0, exact=False) == pytest.approx((1, 4.0, 4.0))
    # CryoBench forgives the sign, the house does not.
    assert fsc_score(a, -a, 2.0)[0] == pytest.approx((8 - 1) / 16)
    assert fsc_score(a, -a, 2.0, exact=False)[0] == pytest.approx(-1, abs=1e-5)


def test_images_and_conformations_are_scored_where_they_lie():
    volumes = maps(3)
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    latent = (10.0 * labels + RNG.uniform(-1, 1, 100))[:, None]

    def decode(z):
        return volumes[np.clip(np.rint(z[:, 0] / 10), 0, 2).astype(int)]

    image = score_per_image(decode, latent, volumes, labels, 2.0, count=10)
    assert image.row.tolist() == list(range(0, 100, 10))
    np.testing.assert_allclose(image.area, image.best, atol=1e-6)
    state = score_per_conformation(decode, latent, volumes, labels, 2.0)
    assert state.state.tolist() == [0, 1, 2]
    for k, row in enumerate(state.row):
        mean = latent[labels == k].mean()
        assert row == np.argmin(np.abs(latent[:, 0] - mean))
    assert state.summary()["mean"] == pytest.approx(state.best)
    wrong = score_per_conformation(lambda z: volumes[[1] * len(z)], latent, volumes, labels, 2.0)
    assert wrong.by_state()[1] > 2 * wrong.by_state()[0]


def test_published_scores_name_their_source():
    assert all(row.source and 0 < row.area < 0.5 for row in PUBLISHED)
    best = published_rows("igg-1d", "per image")
    assert best[0].method == "RECOVAR"
    assert best[0].area == 0.386
    assert {row.method for row in best} >= {"cryoDRGN", "CryoKRAQEN"}

"""Template matching finds what theory says it finds, and in noise what chance would."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy_healpix import healpix_to_lonlat
from scipy.special import ndtr

from vitreous.errors import InputError
from vitreous.geometry.point_groups import point_group
from vitreous.geometry.rotations import geodesic_distance, matrix_to_euler
from vitreous.simulation import HingeMotion, MapStates, MicrographOptions, Optics, hinge_phantom
from vitreous.simulation.counting import contrast_of_sum
from vitreous.simulation.field_of_view import image_field
from vitreous.simulation.field_recording import record_field
from vitreous.simulation.field_truth import FieldTruth, draw_field
from vitreous.simulation.matching import (
    Match,
    MatchOptions,
    expected_snr,
    match_template,
    noise_threshold,
    plan_search,
    run_search,
    search_angles,
)
from vitreous.simulation.matching.discrimination import share_kept, view_likeness
from vitreous.simulation.matching.orientations import (
    angles_to_rotations,
    ring_directions,
    search_directions,
)
from vitreous.simulation.matching.peaks import find_peaks, refine_peaks
from vitreous.simulation.matching.search import HISTOGRAM_START, HISTOGRAM_STEP
from vitreous.simulation.matching.statistics import chance_of_detection, largest_of
from vitreous.simulation.matching.whitening import apply_filter, ring_power, whitening_filter

BOX, PIXEL = 28, 7.5
LENS = Optics(defocus=(15000.0, 15000.0), astigmatism=0.0)
SCENE = MicrographOptions(
    size=(240, 216), particles=10, min_distance=220.0, ice=0.0, dose=1.0, optics=LENS
)


@pytest.fixture(scope="module")
def specimen() -> MapStates:
    """One state of the hinge."""
    motion = HingeMotion(hinge_phantom(), BOX, PIXEL, low=20.0, high=20.0, states=1)
    return MapStates.of(motion.volumes(), PIXEL, "linear")


def scene(specimen: MapStates, dose: float, seed: int, views: int) -> tuple[FieldTruth, np.ndarray]:
    """Plant particles on whole pixels, in a few orientations."""
    options = replace(SCENE, dose=dose, seed=seed)
    truth = draw_field(specimen, options, 0)
    rotation = truth.rotation[np.arange(options.particles) % views]
    truth = truth._replace(place=np.rint(truth.place), rotation=rotation)
    signal = image_field(specimen, truth, options, 0)
    return truth, record_field(signal, truth, options, BOX, PIXEL, 0)[0]


def expected(
    specimen: MapStates, truth: FieldTruth, image: np.ndarray, dose: float, row: int
) -> float:
    """Return the power of one particle over the noise's, from its own clean image."""
    alone = truth._replace(
        place=truth.place[row : row + 1],
        height=truth.height[row : row + 1],
        rotation=truth.rotation[row : row + 1],
        state=truth.state[row : row + 1],
    )
    clean = image_field(specimen, alone, SCENE, 0).molecules
    electrons = dose * PIXEL**2 * contrast_of_sum(np.array([300.0]), PIXEL).item()
    return expected_snr(image, clean * electrons)


def scene_of(specimen: MapStates, score: float, seed: int) -> tuple[FieldTruth, np.ndarray, float]:
    """Plant particles of one view at the dose that gives them an expected score."""
    dose, expectation = 0.9, 0.0
    while abs(expectation / score - 1) > 0.02:
        # Scores go with the root of the dose.
        dose *= (score / expectation) ** 2 if expectation else 1.0
        truth, image = scene(specimen, dose, seed, views=1)
        expectation = expected(specimen, truth, image, dose, 0)
    return truth, image, expectation


def found_and_false(match: Match, truth: FieldTruth) -> tuple[int, int]:
    """Count planted particles with a peak within 1.5 pixels, and peaks far from any."""
    apart = np.linalg.norm(match.places[:, None, ::-1] - truth.place[None], axis=-1)
    found = (apart.min(axis=0, initial=np.inf) < 1.5).sum()
    return int(found), int((apart.min(axis=1, initial=np.inf) > 4).sum())


def test_particles_of_six_sigma_are_found_as_often_as_theory_says(specimen: MapStates) -> None:
    """A known view, particles whose power over the noise is 6²: recall 0.95 and more.

    The threshold, one false positive among all correlations, is 4.11; a particle then has the
    chance Φ(6 − 4.11) = 0.97. Twelve micrographs hold 120 particles.
    """
    planned, scores, found, false = [], [], 0, 0
    for seed in range(12):
        truth, image, expectation = scene_of(specimen, 6.0, seed)
        angles = matrix_to_euler(truth.rotation[:1].astype(np.float64))
        options = MatchOptions(score="snr", distance=100.0)
        match = match_template(image, specimen, truth.ctf, options, angles)
        here, elsewhere = found_and_false(match, truth)
        found, false = found + here, false + elsewhere
        x, y = truth.place.astype(int).T
        scores.append(match.snr[y, x])
        planned.append(expectation)
    assert match.threshold == pytest.approx(noise_threshold(240 * 216))
    # 120 values of unit variance: their mean is known to 0.09.
    assert np.mean(scores) == pytest.approx(np.mean(planned), abs=0.25)
    assert chance_of_detection(6.0, match.threshold) > 0.95
    assert found / 120 >= 0.95
    # One false peak a micrograph is allowed; neighbouring correlations are alike, so fewer come.
    assert false <= 12 + 2 * np.sqrt(12)


def test_a_coarse_grid_finds_all_with_their_views(specimen: MapStates) -> None:
    """Every orientation 30° apart and those of the truth: no miss, no peak of noise."""
    truth, image = scene(specimen, 3.0, seed=3, views=10)
    angles = np.concatenate(
        [search_angles(30.0), matrix_to_euler(truth.rotation.astype(np.float64))]
    )
    match = match_template(image, specimen, truth.ctf, MatchOptions(score="snr"), angles)
    assert found_and_false(match, truth) == (10, 0)
    x, y = truth.place.astype(int).T
    turned = angles_to_rotations(match.best_angles()[:, y, x].T.astype(np.float64))
    assert np.median(geodesic_distance(turned, truth.rotation)) < 0.1
    # z scores lose what the likeness of views says.
    kept = share_kept(
        view_likeness(specimen, truth.ctf, ring_power(image)), float(match.snr[y, x].mean())
    )
    coarse = match_template(image, specimen, truth.ctf, MatchOptions(score="z", step=30.0))
    lost = (coarse.z[y, x] / coarse.snr[y, x]).mean()
    assert kept < 0.8
    assert lost == pytest.approx(kept, abs=0.1)
    # Away from particles nothing exceeds what is expected of noise.
    noise = match.snr.copy()
    for column, row in zip(x, y, strict=True):
        noise[max(row - 14, 0) : row + 15, max(column - 14, 0) : column + 15] = 0
    assert noise.max() < match.expected_maximum


def test_in_noise_scores_are_standard_normal_and_their_largest_as_expected(
    specimen: MapStates,
) -> None:
    """Coloured noise on a shape of odd, prime sides, as many views as a sample needs."""
    rng = np.random.default_rng(0)
    shape = (211, 223)
    k = np.hypot(np.fft.fftfreq(211)[:, None], np.fft.rfftfreq(223)[None])
    white = np.fft.rfft2(rng.normal(size=shape))
    image = np.fft.irfft2(white * (0.3 + 1 / (1 + 400 * k**2)), s=shape).astype(np.float32) + 7
    ctf = LENS.draw(rng, 1)
    ctf = type(ctf)(*(np.asarray(field)[0] for field in ctf))
    match = match_template(image, specimen, ctf, MatchOptions(step=30.0))
    x = HISTOGRAM_START + HISTOGRAM_STEP * (np.arange(len(match.histogram)) + 0.5)
    weight = match.histogram / match.histogram.sum()
    assert abs(np.sum(weight * x)) < 0.02
    assert np.sum(weight * x**2) == pytest.approx(1, abs=0.03)
    edges = x + HISTOGRAM_STEP / 2
    assert np.abs(np.cumsum(weight) - ndtr(edges)).max() < 0.01
    # z is standardised pixel by pixel: 576 views alike leave the mean of all z's 0.
    assert np.abs(match.mean).max() < match.snr.max()
    # Views of one molecule are alike, so the largest falls short of independent ones', not by much.
    assert match.expected_maximum - 1.2 < match.snr.max() < match.expected_maximum + 0.6
    assert len(match.peaks) <= 3


def test_the_largest_of_a_single_view_is_that_of_as_many_pixels(specimen: MapStates) -> None:
    largest, false = [], 0
    for seed in range(12):
        image = np.random.default_rng(seed).normal(size=(200, 200)).astype(np.float32)
        match = match_template(
            image, specimen, None, MatchOptions(score="snr", distance=0.0), search_angles(180.0)[:1]
        )
        largest.append(match.snr.max())
        false += len(match.peaks)
    # The largest of 40,000 has a deviation of 0.25; its mean over 12 micrographs 0.07.
    assert np.mean(largest) == pytest.approx(largest_of(40_000), abs=0.25)
    assert 4 <= false <= 22


def test_defocus_and_batches(specimen: MapStates) -> None:
    """The defocus that was wrong by a step is put right; batches and stops change nothing."""
    rng = np.random.default_rng(5)
    volume = rng.normal(size=(24, 24, 24)).astype(np.float32)
    sharp = MapStates.of(volume[None], 2.0, "linear")
    options = MicrographOptions(
        size=(96, 80), particles=2, min_distance=60.0, ice=0.0, dose=None, snr=1.0, optics=LENS
    )
    truth = draw_field(sharp, options, 0)
    truth = truth._replace(place=np.rint(truth.place))
    image, _ = record_field(image_field(sharp, truth, options, 0), truth, options, 24, 2.0, 0)
    wrong = truth.ctf._replace(defocus_u=np.float32(14200), defocus_v=np.float32(14200))
    angles = np.concatenate(
        [matrix_to_euler(truth.rotation.astype(np.float64)), search_angles(60.0)[:19]]
    )
    tried = MatchOptions(defocus_range=800.0, defocus_step=400.0)
    match = match_template(image, sharp, wrong, tried, angles)
    x, y = truth.place.astype(int).T
    assert match.best_offset()[y, x].tolist() == [800.0, 800.0]
    assert match.samples == 21 * 5 * 96 * 80
    for batch in (1, 4):
        other = match_template(image, sharp, wrong, replace(tried, batch=batch), angles)
        np.testing.assert_allclose(other.snr, match.snr, atol=1e-4)
        np.testing.assert_allclose(other.mean, match.mean, atol=1e-4)
        np.testing.assert_allclose(other.deviation, match.deviation, atol=1e-4)
        assert other.histogram.sum() > 0


def test_a_search_goes_on_where_it_was_stopped(specimen: MapStates, tmp_path: Path) -> None:
    image = np.random.default_rng(1).normal(size=(64, 72)).astype(np.float32)
    search = plan_search(image, specimen, None, MatchOptions(step=60.0))
    whole = run_search(search)
    saved = tmp_path / "state.npz"
    calls = iter([False, False, True])
    assert run_search(search, saved=saved, should_stop=lambda: next(calls)) is None
    tried: list[int] = []
    again = run_search(search, saved=saved, progress=tried.append)
    assert tried[0] == 24
    assert sum(tried) == len(search.angles)
    for name in ("snr", "view", "mean", "deviation", "z", "histogram"):
        np.testing.assert_array_equal(getattr(again, name), getattr(whole, name))
    other = plan_search(image, specimen, None, MatchOptions(step=60.0, finest=20.0))
    tried.clear()
    run_search(other, saved=saved, progress=tried.append)
    assert tried[0] == 0


@pytest.mark.parametrize("nside", [1, 2, 4])
def test_rings_are_those_of_healpix(nside: int) -> None:
    lon, lat = healpix_to_lonlat(np.arange(12 * nside**2), nside, order="ring")
    angles = ring_directions(nside)
    np.testing.assert_allclose(angles[:, 0], lon.deg, atol=1e-9)
    np.testing.assert_allclose(angles[:, 1], 90 - lat.deg, atol=1e-9)


@pytest.mark.parametrize("step", [3.0, 7.0, 20.0])
def test_directions_are_as_near_as_asked(step: float) -> None:
    """No direction is farther from the grid than the corner of a cell."""
    rot, tilt = np.deg2rad(search_directions(step)).T
    grid = np.stack([np.sin(tilt) * np.cos(rot), np.sin(tilt) * np.sin(rot), np.cos(tilt)], 1)
    probe = np.random.default_rng(0).normal(size=(500, 3))
    probe /= np.linalg.norm(probe, axis=1, keepdims=True)
    nearest = np.rad2deg(np.arccos(np.clip((probe @ grid.T).max(axis=1), -1, 1)))
    assert nearest.max() < 1.05 * step
    assert len(grid) < 12 * (58.7 / step + 1) ** 2


@pytest.mark.parametrize(("name", "order"), [("C3", 3), ("D2", 4), ("T", 12), ("O", 24), ("I", 60)])
def test_symmetry_leaves_each_view_once(name: str, order: int) -> None:
    """Every direction of the whole grid has one that looks alike in the reduced one, near it."""
    group = point_group(name)
    whole, reduced = search_directions(4.0), search_directions(4.0, group)
    assert len(reduced) == pytest.approx(len(whole) / order, rel=0.12)

    def beams(angles: np.ndarray) -> np.ndarray:
        rot, tilt = np.deg2rad(angles).T
        return np.stack([np.sin(tilt) * np.cos(rot), np.sin(tilt) * np.sin(rot), np.cos(tilt)], 1)

    alike = np.einsum("gji,mj->gmi", group, beams(reduced)).reshape(-1, 3)
    nearest = np.rad2deg(np.arccos(np.clip((beams(whole) @ alike.T).max(axis=1), -1, 1)))
    assert nearest.max() < 1.5 * 4.0


def test_peaks_are_apart_and_in_order() -> None:
    score = np.zeros((30, 40), np.float32)
    for row, column, value in [(5, 5, 9.0), (5, 8, 8.0), (20, 39, 7.0), (29, 0, 6.0), (12, 20, 3)]:
        score[row, column] = value
    assert find_peaks(score, 5.0, 4.0).tolist() == [[5, 5], [20, 39], [29, 0]]
    assert len(find_peaks(score, 5.0, 2.0)) == 4
    assert find_peaks(score, 10.0, 2.0).shape == (0, 2)


def test_places_between_pixels() -> None:
    y, x = np.mgrid[:20, :24]
    score = np.exp(-((x - 10.3) ** 2 + (y - 7.8) ** 2) / 18).astype(np.float32)
    np.testing.assert_allclose(
        refine_peaks(score, find_peaks(score, 0.5, 5.0)), [[7.8, 10.3]], atol=0.02
    )


def test_whitening_takes_what_colour_there_was() -> None:
    rng = np.random.default_rng(2)
    k = np.hypot(np.fft.fftfreq(300)[:, None], np.fft.rfftfreq(400)[None])
    coloured = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(300, 400))) / (1 + 20 * k), s=(300, 400))
    image = coloured.astype(np.float32)
    white = apply_filter(image, whitening_filter(ring_power(image), image.shape, 2.5, 30.0))
    power = np.abs(np.fft.rfft2(white.astype(np.float64))) ** 2 / white.size
    assert np.all(power[(k > 0.4) | (k < 1 / 30)] < 1e-9)
    for low, high in [(0.04, 0.1), (0.1, 0.2), (0.2, 0.3), (0.3, 0.4)]:
        # Rings of 1,500 modes and more.
        assert power[(k >= low) & (k < high)].mean() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"step": 0.0, "in_plane_step": 5.0}, "--step 0"),
        ({"in_plane_step": 0.0}, "--in-plane-step"),
        ({"symmetry": "K9"}, "not a point group"),
        ({"defocus_step": 0.0}, "--defocus-step"),
        ({"finest": 10.0}, "pixels of 7.5 Å hold detail down to 15 Å"),
        ({"coarsest": 15.0}, "leaves no frequencies"),
        ({"false_positives": 0.0}, "--false-positives"),
        ({"batch": 0}, "-b 0"),
    ],
)
def test_senseless_searches_are_refused(specimen: MapStates, changes: dict, message: str) -> None:
    image = np.zeros((64, 64), np.float32)
    with pytest.raises(InputError, match=message):
        plan_search(image, specimen, None, replace(MatchOptions(), **changes))


def test_a_template_larger_than_the_micrograph_is_refused(specimen: MapStates) -> None:
    with pytest.raises(InputError, match="larger than the micrograph of 64×20"):
        plan_search(np.zeros((20, 64), np.float32), specimen, None)

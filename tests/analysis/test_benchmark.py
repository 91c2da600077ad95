"""A toy run with a known truth through `benchmark`: what must be near perfect is."""

import json

import numpy as np
import pytest
from toy_landscape import BOX, toy_run, toy_volume

from vitreous.analysis.benchmark import BenchmarkOptions, benchmark_run, true_coordinates
from vitreous.cli.main import main
from vitreous.metrics import Truth


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A run of 60 particles, and the truth: four states along its motion."""
    run = toy_run(tmp_path / "run", monkeypatch, count=60, dimensions=2)
    run.update_config(particles={"path": str(tmp_path / "none.star")})
    z = run.latents(4).mean
    labels = np.clip((z[:, 0] + 2).astype(int), 0, 3)
    volumes = np.stack([toy_volume(z[labels == k].mean(axis=0)) for k in range(4)])
    fields = {"labels": labels, "t": z[:, 0].astype(np.float64), "vols": volumes, "apix": 2.0}
    np.savez(tmp_path / "truth.npz", **fields)
    return run, tmp_path / "truth.npz"


def test_scores_of_a_good_run_are_good(toy, capsys):
    run, truth = toy
    words = ["benchmark", run.path, "--truth", truth, "--images", 6, "--volumes", 8]
    main([str(word) for word in [*words, "--data-set", "igg-1d"]])
    out = capsys.readouterr().out
    assert "RECOVAR" in out
    scores = json.loads((run.path / "benchmark.4.json").read_text())["scores"]
    best = (BOX // 2 - 1) / BOX
    assert scores["per-conformation FSC"]["mean"] > 0.95 * best
    assert scores["per-image FSC"]["mean"] > 0.8 * best
    assert scores["per-image FSC"]["best possible"] == pytest.approx(best)
    assert scores["latent"]["Δ(z → truth)"] < 0.3
    # The truth lies on a line; the latent has a second, idle coordinate.
    assert scores["latent"]["Δ(truth → z)"] > scores["latent"]["Δ(z → truth)"] / 2
    assert scores["map to map"]["submitted volumes"] == 8
    assert scores["populations"]["l2: earth mover's distance"] < 0.3


def test_the_house_form_ends_at_one(toy):
    from vitreous.metrics import read_truth

    run, truth = toy
    options = BenchmarkOptions(images=4, exact=False, submitted=0)
    sections = benchmark_run(run, 4, read_truth(truth), options)
    assert sections["per-image FSC"]["best possible"] == 1
    assert "map to map" not in sections


def test_true_coordinates_of_circles_and_of_volumes():
    t = np.array([0.0, 90, 180, 270])
    circle = true_coordinates(Truth(coordinate=t, period=360.0))
    np.testing.assert_allclose(circle, [[1, 0], [0, 1], [-1, 0], [0, -1]], atol=1e-12)
    volumes = np.random.default_rng(0).standard_normal((3, 4, 4, 4)).astype(np.float32)
    labels = np.array([0, 2, 2, 1])
    placed = true_coordinates(Truth(labels=labels, volumes=volumes))
    distance = np.linalg.norm(placed[0] - placed[1])
    assert distance == pytest.approx(np.linalg.norm(volumes[0] - volumes[2]), rel=1e-5)
    np.testing.assert_array_equal(placed[1], placed[2])

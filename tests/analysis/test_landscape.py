"""Landscapes of a toy whose volumes are known: components, states, all particles, convergence."""

import json

import numpy as np
import pytest
from toy_landscape import toy_run, toy_volume

from vitreous.analysis.communities import leiden_communities
from vitreous.analysis.convergence import (
    ConvergenceOptions,
    analyze_convergence,
    comparable_epochs,
)
from vitreous.analysis.landscape import LandscapeOptions, analyze_landscape
from vitreous.analysis.landscape_full import FullOptions, analyze_landscape_full
from vitreous.analysis.postprocess import VolumeOptions
from vitreous.analysis.sketch import sketch_latent
from vitreous.analysis.smooth_map import fit_smooth_map
from vitreous.analysis.volume_space import fit_volume_space
from vitreous.cli.main import main
from vitreous.errors import InputError
from vitreous.particles import read_index, read_map
from vitreous.training.run import Latents

RNG = np.random.default_rng(0)


def run_command(*words):
    try:
        main([str(word) for word in words])
    except SystemExit as end:
        return end.code or 0
    return 0


def test_volume_components_are_those_of_the_covariance():
    mask = np.zeros((4, 4, 4), np.float32)
    mask[:2] = 1
    rows = (RNG.random((40, 32)) @ np.diag(np.linspace(1, 3, 32))).astype(np.float32)
    space, scores, distance = fit_volume_space(rows, mask, 5)
    values, vectors = np.linalg.eigh(np.cov(rows.astype(np.float64).T))
    np.testing.assert_allclose(space.variance, values[::-1][:5], rtol=1e-4)
    assert space.total == pytest.approx(values.sum(), rel=1e-5)
    np.testing.assert_allclose(
        np.abs(np.sum(space.axes * vectors.T[::-1][:5], axis=1)), 1, atol=1e-4
    )
    volumes = np.zeros((40, 4, 4, 4), np.float32)
    volumes[:, mask > 0] = rows
    np.testing.assert_allclose(space.transform(volumes), scores, atol=1e-3)
    apart = np.linalg.norm(rows[3] - rows[7])
    assert distance[3, 7] == pytest.approx(apart, rel=1e-4)


def test_a_sketch_covers_and_everyone_has_the_nearest():
    z = RNG.normal(size=(400, 3)).astype(np.float32)
    found = sketch_latent(z, 30)
    assert len(found) <= 30
    distance = np.linalg.norm(z[:, None] - found.centres[None], axis=-1)
    np.testing.assert_array_equal(found.labels, distance.argmin(axis=1))
    chosen = sketch_latent(z, 30, chosen=np.array([5, 100, 7]))
    np.testing.assert_array_equal(chosen.labels[[5, 100, 7]], [0, 1, 2])


@pytest.fixture
def run(tmp_path, monkeypatch):
    made = toy_run(tmp_path / "run", monkeypatch, count=150, dimensions=3)
    made.update_config(particles={"path": str(tmp_path / "none.star")})
    return made


def test_states_are_stretches_of_the_motion(run):
    options = LandscapeOptions(sketch=30, states=4, linkage="ward", traversals=1, steps=4)
    found = analyze_landscape(run, 4, options)
    z = run.latents(4).mean
    # The toy moves along its first coordinate: the first component must follow it.
    first = found.scores[:, 0]
    assert abs(np.corrcoef(first, found.sketch.centres[:, 0])[0, 1]) > 0.95
    order = np.argsort(found.sketch.centres[:, 0])
    changes = np.sum(np.diff(found.state[order]) != 0)
    assert changes <= 6
    folder = found.folder / "sketch_clustering_ward_4"
    assert np.load(folder / "state_labels.npy").min() == 1
    particles = [read_index(folder / f"state_{k}" / "particle_ind.pkl") for k in range(1, 5)]
    assert sorted(np.concatenate(particles).tolist()) == list(range(150))
    members = (folder / "state_2" / "members.txt").read_text().split()
    numbers = [int(name[4:7]) - 1 for name in members]
    weights = found.sketch.sizes[numbers]
    expected = np.average(
        [toy_volume(found.sketch.centres[k]) for k in numbers], axis=0, weights=weights
    )
    np.testing.assert_allclose(read_map(folder / "state_2_mean.mrc").data, expected, atol=1e-5)
    assert weights.sum() == len(particles[1])
    assert (found.folder / "vol_pcs" / "pc1" / "vol_004.mrc").is_file()
    assert (folder / "states.png").is_file()
    again = analyze_landscape(run, 4, LandscapeOptions(sketch=30, states=4, volumes_exist=True))
    np.testing.assert_allclose(again.scores, found.scores, atol=1e-4)
    assert len(z) == len(found.particle_state)


def test_every_particle_finds_its_place(run, monkeypatch):
    small = VolumeOptions(downsample=16)
    analyze_landscape(run, 4, LandscapeOptions(sketch=20, states=3, traversals=0, treatment=small))
    options = FullOptions(decoded=200, neighbours=20, resolution=0.3, umap=False, volumes=False)
    exact = analyze_landscape_full(run, 4, options)
    assert exact.r2 is None
    fewer = FullOptions(decoded=80, neighbours=20, resolution=0.3, umap=False)
    learnt = analyze_landscape_full(run, 4, fewer)
    assert learnt.r2[0] > 0.97
    # What it says of volumes left out is true of those never decoded.
    wrong = np.sum((learnt.scores - exact.scores) ** 2, axis=0)
    spread = np.sum((exact.scores - exact.scores.mean(axis=0)) ** 2, axis=0)
    told = np.sum((1 - learnt.r2) * spread)
    assert wrong.sum() < 2 * told
    assert wrong[0] / spread[0] < 0.05
    assert (learnt.folder / "full_clustering" / "vol_001.mrc").is_file()
    assert np.bincount(learnt.community)[0] >= np.bincount(learnt.community)[-1]


def test_communities_are_found_and_followed():
    z = np.concatenate([RNG.normal(size=(60, 3)) + 8 * k for k in range(3)])
    truth = np.repeat(np.arange(3), 60)
    for largest in (1000, 90):
        found = leiden_communities(z, 15, 0.3, largest=largest)
        assert len(np.unique(found)) == 3
        assert all(len(np.unique(found[truth == k])) == 1 for k in range(3))


def test_a_smooth_map_predicts_and_says_how_well():
    x = RNG.normal(size=(600, 3))
    y = np.stack([np.sin(x[:, 0]), x[:, 1] * x[:, 2], RNG.normal(size=600)], axis=1)
    found = fit_smooth_map(x[:500], y[:500], landmarks=200)
    assert found.r2[0] > 0.98
    assert found.r2[1] > 0.98
    # Nothing can be learnt of noise, and it says so.
    assert found.r2[2] < 0.1
    error = np.mean((found(x[500:]) - y[500:]) ** 2, axis=0)
    assert (error[:2] < 0.05).all()


def test_convergence_is_told_by_neighbours_and_volumes(run, tmp_path):
    settled = analyze_convergence(run, None, ConvergenceOptions(maxima=3, neighbours=10))
    assert settled.epochs == [1, 4]
    assert settled.neighbours.tolist() == [1.0]
    np.testing.assert_allclose(settled.volumes, 1, atol=1e-5)
    assert settled.is_settled(0.9)
    z = run.latents(4).mean
    run.save_latents(Latents(z[RNG.permutation(len(z))]), 1)
    moving = analyze_convergence(run, 4, ConvergenceOptions(maxima=3, neighbours=10))
    assert moving.neighbours[0] < 0.3
    assert not moving.is_settled(0.9)
    told = json.loads((moving.folder / "convergence.json").read_text())
    assert told["epochs"] == [1, 4]
    assert (moving.folder / "convergence.png").is_file()
    with pytest.raises(InputError, match="epoch 9 was not saved"):
        comparable_epochs(run, 9, 1)
    (run.path / "latents.1.npz").unlink()
    with pytest.raises(InputError, match="two or more are compared"):
        comparable_epochs(run, None, 1)


def test_commands_in_a_row(run, capsys):
    assert run_command("analyze_landscape_full", run.path) == 2
    assert "analyze-landscape" in capsys.readouterr().err
    words = ["-N", 12, "-M", 2, "--plot-dim", 1]
    assert run_command("analyze_landscape", run.path, "-1", *words) == 0
    assert "state 2" in capsys.readouterr().out
    assert run_command("analyze-landscape-full", run.path, 4, "-N", 60, "--skip-umap") == 0
    assert "communities" in capsys.readouterr().out
    assert run_command("analyze-convergence", run.path, "--epoch-interval", 1) == 0
    assert "settled" in capsys.readouterr().out
    assert run_command("select", run.path, "--where", "state == 1") == 0
    assert run_command("select", run.path, "--where", "community == 1 and vpc1 > -1e9") == 0
    assert run_command("analyze-landscape", run.path, "-N", 1) == 2

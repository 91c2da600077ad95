"""`analyze` from a run to its folder: what is written, what it says, what it refuses."""

import json

import numpy as np
import pytest
from toy_landscape import BOX, toy_run, toy_volume

from vitreous.analysis import variables as variables_module
from vitreous.analysis.analyze import AnalyzeOptions, analyze
from vitreous.analysis.embedding import embed_umap
from vitreous.analysis.facts import duration, learning_curves, run_facts
from vitreous.analysis.postprocess import VolumeOptions
from vitreous.analysis.truth_scores import match_truth
from vitreous.analysis.variables import table_variables, truth_variables
from vitreous.errors import InputError
from vitreous.imaging.ctf import CTFParameters
from vitreous.maps import read_map
from vitreous.metrics.truth import Truth
from vitreous.particles.peer_pickles import read_latent_pickle
from vitreous.particles.pickles import load_pickle
from vitreous.particles.table import ParticleTable
from vitreous.training.run import Latents

QUICK = AnalyzeOptions(umap=False, clusters=4, steps=3, components=2, picture=32)


def toy_truth(count):
    """The truth of `toy_run`: its first latent runs from −2 to 2 in the order of the particles."""
    t = np.linspace(-2, 2, count)
    labels = np.minimum((np.arange(count) * 5) // count, 4)
    volumes = np.stack([toy_volume([t[labels == k].mean(), 0]) for k in range(5)])
    return Truth(labels, t, None, volumes, 2.0)


def test_the_folder_holds_what_its_readers_look_for(tmp_path, monkeypatch):
    run = toy_run(tmp_path / "run", monkeypatch)
    stages = []
    found = analyze(run, -1, QUICK, truth=toy_truth(120), progress=lambda *a: stages.append(a))
    folder = run.path / "analyze.4"
    assert found.folder == folder
    assert found.report == folder / "report.html"
    assert (run.path / "report.html").read_text() == found.report.read_text()
    wanted = [
        "pca.npz", "z_pca.png", "z_pca_hexbin.png", "learning_curve_epoch4.png", "scores.json",
        "pc1/vol_001.mrc", "pc1/vol_003.mrc", "pc1/z_values.txt", "pc1/series.cxc",
        "pc1/movie.gif", "pc2/vol_001.mrc", "kmeans4/vol_004.mrc", "kmeans4/labels.pkl",
        "kmeans4/labels.npy", "kmeans4/centers.txt", "kmeans4/centers_ind.txt",
        "kmeans4/z_values.txt", "kmeans4/z_pca.png", "kmeans4/volumes.png", "kmeans4/series.cxc",
        "kmeans4/movie.gif",
    ]  # fmt: skip
    assert [name for name in wanted if not (folder / name).is_file()] == []
    assert not list(folder.rglob(".*"))  # no temporary file is left
    z = run.latents(4).mean
    index = np.loadtxt(folder / "kmeans4" / "centers_ind.txt", dtype=int)
    np.testing.assert_allclose(np.loadtxt(folder / "kmeans4" / "centers.txt"), z[index], rtol=1e-6)
    np.testing.assert_array_equal(load_pickle(folder / "kmeans4" / "labels.pkl")[index], range(4))
    for name in ("vol_001.mrc", "vol_004.mrc"):
        volume = read_map(folder / "kmeans4" / name)
        np.testing.assert_allclose(volume.data, toy_volume(z[index[int(name[6]) - 1]]), atol=1e-6)
        assert volume.voxel_size == 2.0
    mean, log_variance = read_latent_pickle(run.path / "z.4.pkl")
    np.testing.assert_array_equal(mean, z)
    assert log_variance is not None
    assert {stage for stage, _, _ in stages} >= {"report", "volumes: cluster centres"}
    assert all(done <= total for _, done, total in stages)
    scores = json.loads((folder / "scores.json").read_text())
    assert scores == found.scores
    assert scores["|Spearman|, first component"] > 0.98
    # Each image is scored against the volume of its state; the latent is off by at most 0.4.
    best = scores["per-image AUC-FSC, best possible"]
    assert best == (BOX // 2 - 1) / BOX
    assert 0.8 * best < scores["per-image AUC-FSC, mean"] <= best


def test_one_dimension_and_no_volumes(tmp_path, monkeypatch):
    run = toy_run(tmp_path / "run", monkeypatch, dimensions=1)
    found = analyze(run, 1, AnalyzeOptions(volumes=False, clusters=4), tmp_path / "elsewhere")
    assert (tmp_path / "elsewhere" / "z_hist.png").is_file()
    assert not list((tmp_path / "elsewhere").rglob("*.mrc"))
    assert not (run.path / "report.html").exists()
    assert "spread (random)" in found.report.read_text()
    with_volumes = analyze(run, 1, QUICK)
    z = np.loadtxt(with_volumes.folder / "pc1" / "z_values.txt")
    expected = np.percentile(run.latents(1).mean[:, 0], [5, 50, 95])
    np.testing.assert_allclose(z, expected, rtol=1e-5)


def test_what_cannot_be_analyzed_is_refused_first(tmp_path, monkeypatch):
    run = toy_run(tmp_path / "run", monkeypatch)
    before = sorted(run.path.rglob("*"))
    truth = toy_truth(120)
    cases = [
        ((3, QUICK), "no checkpoint of epoch 3 (epochs with one: 1, 4)"),
        ((1, AnalyzeOptions(steps=1)), "--n-per-pc"),
        ((1, AnalyzeOptions(pixel_size=-1.0)), "--Apix"),
        ((1, AnalyzeOptions(treatment=VolumeOptions(downsample=99))), "--downsample 99"),
        ((1, QUICK, None, toy_truth(119)), "119 images, the run of 120"),
        ((1, QUICK, None, Truth(truth.labels, volumes=truth.volumes[:, 1:, 1:, 1:])), "box of 23"),
        (
            (1, QUICK, None, Truth(truth.labels, volumes=truth.volumes, pixel_size=3.0)),
            "3 Å/px, the run's 2",
        ),
    ]
    for arguments, message in cases:
        with pytest.raises(InputError) as caught:
            analyze(run, *arguments)
        assert message in str(caught.value)
    assert sorted(run.path.rglob("*")) == before
    z = run.latents(1).mean
    z[7, 1] = np.nan
    run.save_latents(Latents(z), 1)
    with pytest.raises(InputError, match=r"first in row 7, 1 rows in all"):
        analyze(run, 1, QUICK)
    with pytest.raises(InputError, match="no epoch is complete"):
        analyze(toy_run(tmp_path / "young", monkeypatch, epochs=()), None, QUICK)


@pytest.mark.slow
def test_umap_keeps_groups_apart_and_repeats():
    rng = np.random.default_rng(0)
    group = np.repeat([0, 1], 30)
    z = (20 * group[:, None] + rng.standard_normal((60, 5))).astype(np.float32)
    first = embed_umap(z)
    gap = np.linalg.norm(first[group == 0].mean(axis=0) - first[group == 1].mean(axis=0))
    assert gap > 3 * max(first[group == k].std() for k in (0, 1)) / 2
    # Points beyond the limit are placed among the others, near their own group.
    placed = embed_umap(z, largest=40)
    np.testing.assert_array_equal(placed, embed_umap(z, largest=40))
    middle = np.stack([placed[group == k].mean(axis=0) for k in (0, 1)])
    nearest = np.argmin(np.linalg.norm(placed[:, None] - middle, axis=-1), axis=1)
    assert np.mean(nearest == group) > 0.95
    assert not embed_umap(z[:2]).any()


def small_table(count=6):
    ones = np.ones(count, np.float32)
    ctf = CTFParameters(
        np.linspace(1e4, 2e4, count, dtype=np.float32), 1e4 * ones, 0 * ones, 300 * ones,
        2.7 * ones, 0.1 * ones, 0 * ones, 0 * ones, ones,
    )  # fmt: skip
    return ParticleTable(
        stacks=("s.mrcs",),
        stack_id=np.zeros(count, np.int32),
        image_index=np.arange(count),
        box=np.full(count, 8, np.int32),
        pixel_size=np.ones(count),
        rotation=None,
        shift=np.zeros((count, 2), np.float32),
        ctf=ctf,
        optics_group=np.zeros(count, np.int32),
        half_set=np.array([0, 1] * (count // 2), np.int8),
        particle=np.arange(count) // 2,
        row=np.arange(count) + 10,
    )


def test_the_table_gives_colours_and_only_useful_ones():
    found = {v.name: v for v in table_variables(small_table())}
    assert set(found) == {"defocus (µm)", "half set"}  # no shifts, one group, no poses
    np.testing.assert_allclose(found["defocus (µm)"].values, np.linspace(1.0, 1.5, 6))
    assert found["half set"].names == ("1", "2")
    circle = Truth(np.array([4, 2, 4]), np.array([0.5, 0.75, 1.25]), 1.0)
    angle, state = truth_variables(circle)
    np.testing.assert_allclose(angle.values, [180, 270, 90])
    assert state.names == ("2", "4")
    np.testing.assert_array_equal(state.values, [1, 0, 1])


def test_tilt_series_show_one_row_a_particle(tmp_path, monkeypatch):
    run = toy_run(tmp_path / "run", monkeypatch)
    monkeypatch.setattr(run, "table", small_table)
    table = variables_module.particle_table(run, 3)
    np.testing.assert_array_equal(table.row, [10, 12, 14])
    assert variables_module.particle_table(run, 5) is None
    monkeypatch.undo()
    assert variables_module.particle_table(run, 6) is None  # its particles are not there


def test_truth_follows_a_selection():
    truth = Truth(labels=np.arange(20))
    selected = match_truth(truth, 6, small_table())
    np.testing.assert_array_equal(selected.labels, np.arange(10, 16))
    assert match_truth(truth, 20, None) is truth
    # Of a tilt series the truth may tell of particles: three here, two images each.
    assert match_truth(Truth(labels=np.arange(3)), 6, small_table()).labels.tolist() == [
        0, 0, 1, 1, 2, 2,
    ]  # fmt: skip


def test_facts_and_curves(tmp_path, monkeypatch):
    run = toy_run(tmp_path / "run", monkeypatch)
    facts = dict(run_facts(run, 4, 3, 2.0))
    assert facts["training time"] == "4 s"
    assert facts["images a second"] == "10"
    assert facts["volume"] == "24³ voxels of 2 Å"
    epochs, curves = learning_curves(run.metrics(), 3)
    assert epochs == [1, 2, 3]
    np.testing.assert_allclose(curves["loss"], [1, 1 / 2, 1 / 3])
    assert learning_curves([], 3) == ([], {})
    assert [duration(s) for s in (0.4, 59.6, 200.0, 7500.0)] == [
        "0 s", "1 min 00 s", "3 min 20 s", "2 h 05 min",
    ]  # fmt: skip

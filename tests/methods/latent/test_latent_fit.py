"""Fits of a small simulated molecule, against its truth."""

import json
from dataclasses import replace

import mrcfile
import numpy as np
import pytest

from vitreous.cli.main import main
from vitreous.errors import InputError
from vitreous.geometry.rotations import geodesic_distance, rotation_vector_to_matrix
from vitreous.methods.latent.config import LatentConfig
from vitreous.methods.latent.decode import load_method
from vitreous.methods.latent.fit import DataOptions, train
from vitreous.metrics.truth import read_truth, score_latent
from vitreous.metrics.volume_fsc import per_image_auc
from vitreous.particles import read_latent_pickle, read_map, read_particles
from vitreous.training.fit import FitOptions
from vitreous.training.registry import evaluator
from vitreous.training.run import Run
from vitreous.training.unseen import write_unseen

pytestmark = pytest.mark.slow

QUIET = FitOptions(quiet=True, checkpoint_every=8)
SMALL = LatentConfig(
    zdim=2, encoder_width=64, decoder_width=64, decoder_layers=2, encoder_layers=1, epochs=24
)


@pytest.fixture(scope="module")
def vae_run(hinge_set, tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("vae") / "run"
    return train(hinge_set / "particles.star", folder, SMALL, options=QUIET)


def auc(run: Run, truth) -> float:
    z = run.latents().mean
    chosen = np.arange(0, len(z), 40)
    return per_image_auc(run.decode, z, truth.volumes, truth.labels, chosen, batch=8).mean()


def test_vae_finds_the_hinge_and_beats_the_consensus(hinge_set, vae_run):
    truth = read_truth(hinge_set / "truth.npz")
    scores = score_latent(vae_run.latents().mean, truth)
    assert scores["|Spearman|, along the graph"] > 0.9
    consensus = load_method(vae_run).foundation.consensus
    chosen = np.arange(0, 320, 40)

    def constant(z):
        return np.repeat(consensus[None], len(z), axis=0)

    z = np.zeros((320, 2), np.float32)
    flat = per_image_auc(constant, z, truth.volumes, truth.labels, chosen, batch=8).mean()
    assert auc(vae_run, truth) > flat + 0.005


def test_run_folder_reads_as_the_peers_do(vae_run):
    mean, log_variance = read_latent_pickle(vae_run.path / "z.24.pkl")
    np.testing.assert_array_equal(mean, vae_run.latents().mean)
    assert log_variance.shape == mean.shape
    assert vae_run.epochs() == [8, 16, 24]
    earlier, later = vae_run.latents(8).mean, vae_run.latents(24).mean
    assert not np.array_equal(earlier, later)


def test_decoded_volumes_are_in_the_units_of_the_images(hinge_set, vae_run):
    truth = read_truth(hinge_set / "truth.npz")
    volume = vae_run.decode(vae_run.latents().mean[:1])[0]
    true = truth.volumes[truth.labels[0]]
    inside = true > 0.2 * true.max()
    slope = np.sum(volume[inside] * true[inside]) / np.sum(true[inside] ** 2)
    # White particles give positive density of the true height, resolution losses aside.
    assert 0.6 < slope < 1.3


def test_training_longer_goes_on_from_the_checkpoint(hinge_set, vae_run, tmp_path):
    longer = replace(SMALL, epochs=4)
    folder = tmp_path / "run"
    train(hinge_set / "particles.star", folder, replace(SMALL, epochs=2), options=QUIET)
    with pytest.raises(InputError, match="already holds a run"):
        train(hinge_set / "particles.star", folder, longer, options=QUIET)
    run = train(hinge_set / "particles.star", folder, longer, options=QUIET, resume=True)
    assert run.epochs()[-1] == 4
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    epochs = [r["epoch"] for r in map(json.loads, lines) if r.get("epoch_mean")]
    assert epochs == [1, 2, 3, 4]


def test_autodecoder_finds_the_hinge(hinge_set, tmp_path):
    config = replace(SMALL, kind="autodecoder", epochs=4)
    run = train(hinge_set / "particles.star", tmp_path / "run", config, options=QUIET)
    truth = read_truth(hinge_set / "truth.npz")
    scores = score_latent(run.latents().mean, truth)
    assert scores["neighbour R² (15 neighbours)"] > 0.8


def test_homogeneous_fit_equals_backprojection(hinge_set, vae_run, tmp_path):
    config = replace(SMALL, decoder_width=128)
    config = replace(config, kind="homogeneous", zdim=0, consensus=False, sample=False)
    run = train(hinge_set / "particles.star", tmp_path / "run", config, options=QUIET)
    volume = read_map(run.path / "reconstruct.24.mrc")
    assert volume.voxel_size == pytest.approx(6.4)
    mean = read_truth(hinge_set / "truth.npz").volumes.mean(0)
    backprojected = load_method(vae_run).foundation.consensus
    field, grid = (np.corrcoef(v.ravel(), mean.ravel())[0, 1] for v in (volume.data, backprojected))
    assert field > 0.95 * grid


def test_pose_refinement_reduces_planted_errors(hinge_set, tmp_path):
    table = read_particles(hinge_set / "particles.star")
    rng = np.random.default_rng(0)
    errors = rotation_vector_to_matrix(rng.normal(0, 3.0, (len(table), 3)).astype(np.float32))
    wrong = np.einsum("nij,njk->nik", errors, table.rotation).astype(np.float32)
    shifts = table.shift + rng.normal(0, 3.0, table.shift.shape).astype(np.float32)
    table.replace(rotation=wrong, shift=shifts).to_star(tmp_path / "wrong.star")
    config = replace(SMALL, refine_poses=True, pretrain_pose=2)
    data = DataOptions(datadir=str(hinge_set))
    run = train(tmp_path / "wrong.star", tmp_path / "run", config, data, QUIET)
    refined = read_particles(run.path / "particles.star", datadir=hinge_set)
    before = np.linalg.norm(shifts - table.shift, axis=1).mean()
    after = np.linalg.norm(refined.shift - table.shift, axis=1).mean()
    assert after < 0.8 * before
    start = np.median(geodesic_distance(wrong, table.rotation))
    end = np.median(geodesic_distance(refined.rotation, table.rotation))
    assert end < start


def test_streamed_equals_resident(hinge_set, tmp_path):
    config = replace(SMALL, epochs=1)
    star = hinge_set / "particles.star"
    held = train(star, tmp_path / "held", config, options=QUIET)
    lazy = train(star, tmp_path / "lazy", config, DataOptions(lazy=True), QUIET)
    # Two compiled programs round differently; 20 steps keep that below a percent.
    np.testing.assert_allclose(lazy.latents().mean, held.latents().mean, atol=2e-2)


@pytest.mark.parametrize(
    "setting",
    [
        {"encoding": "none", "activation": "leaky_relu"},
        {"encoder": "conv", "domain": "hartley", "encoding": "geom_lowf"},
    ],
)
def test_unusual_networks_train_and_come_back(hinge_set, tmp_path, setting):
    config = replace(SMALL, epochs=1, encoder_width=16, decoder_width=16, **setting)
    run = train(hinge_set / "particles.star", tmp_path / "run", config, options=QUIET)
    volume = run.decode(run.latents().mean[:1])[0]
    consensus = load_method(run).foundation.consensus
    # After 20 steps the field is still a small correction.
    assert np.corrcoef(volume.ravel(), consensus.ravel())[0, 1] > 0.9


def test_dark_particles_are_noticed_and_inverted(hinge_set, vae_run, tmp_path, caplog):
    images = mrcfile.read(hinge_set / "particles.mrcs")
    with mrcfile.new(tmp_path / "particles.mrcs") as dark:
        dark.set_data(-images)
        dark.voxel_size = 6.4
    (tmp_path / "particles.star").write_text((hinge_set / "particles.star").read_text())
    config = replace(SMALL, epochs=1)
    run = train(tmp_path / "particles.star", tmp_path / "run", config, options=QUIET)
    assert "the particles are dark" in caplog.text
    assert run.config["contrast"] == "dark"
    white = load_method(vae_run).foundation.consensus
    np.testing.assert_allclose(load_method(run).foundation.consensus, white, atol=1e-3)


def test_command_line_trains_and_refuses(hinge_set, tmp_path, capsys):
    star, out = str(hinge_set / "particles.star"), str(tmp_path / "run")
    flags = ["--zdim", "2", "--enc_dim", "32", "--dec_dim", "32", "--no-analysis", "-n", "1"]
    main(["train_vae", star, "-o", out, *flags])
    assert Run.open(out).latents().mean.shape == (320, 2)
    for wrong, word in [
        ([star, "-o", out, *flags], "already holds a run"),
        ([star, "-o", out + "2", "--pe-type", "sine"], "--pe-type"),
        ([star, "-o", out + "2", "--beta", "q"], "--beta"),
        ([star, "-o", out + "2", "--tilt", "x.mrcs"], "x.mrcs: cannot be read"),
        ([str(tmp_path / "none.star"), "-o", out + "2"], "none.star"),
    ]:
        with pytest.raises(SystemExit) as stop:
            main(["train-vae", *wrong])
        assert stop.value.code == 2
        message = capsys.readouterr().err.strip().splitlines()[-1]
        assert word in message
        assert not (tmp_path / "run2").exists()


def test_unseen_images_are_encoded_like_those_of_the_fit(hinge_set, vae_run, tmp_path):
    """Some rows of the set, read as if they were new, get the latents they had."""
    rows = tmp_path / "rows.txt"
    np.savetxt(rows, [5, 300, 17], fmt="%d")
    unseen = evaluator("latent")(vae_run, hinge_set / "particles.star", DataOptions(ind=str(rows)))
    np.testing.assert_allclose(unseen.latents.mean, vae_run.latents().mean[[5, 300, 17]], atol=1e-3)
    files = write_unseen(tmp_path / "new", unseen)
    mean, _ = read_latent_pickle(files[1])
    np.testing.assert_array_equal(mean, unseen.latents.mean)
    assert [file.name for file in files] == ["latents.npz", "z.pkl"]

"""The amortised strategy on little sets: it must find poses, resume, and learn conformations."""

import jax.numpy as jnp
import numpy as np
import pytest

from vitreous.errors import InputError
from vitreous.geometry.fourier import half_space, volume_from_half_space
from vitreous.geometry.shells import shell_index
from vitreous.methods.abinitio.amortised.config import AmortisedConfig, config_from_dict
from vitreous.methods.abinitio.amortised.field_training import encode
from vitreous.methods.abinitio.amortised.model import predict
from vitreous.methods.abinitio.amortised.train import load_poser, train_amortised
from vitreous.metrics.poses import pose_errors
from vitreous.particles.loader import PreparedImages
from vitreous.simulation.blobs import PIXEL_SIZE, BlobSet, blob_set
from vitreous.training.run import Run


def prepared(trial: BlobSet) -> PreparedImages:
    """Prepare images at the shells these tests use."""
    return PreparedImages.build(trial.table, trial.source)


def folder(path) -> Run:
    """Start a run."""
    return Run.create(path, {"method": "abinitio", "box": 32, "pixel_size": 6.0})


def quiet(line: str) -> None:
    """Take progress without a word."""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Fit a small set from a blurred map, once for all tests."""
    trial = blob_set("rigid", 400, 0.3, 0)
    config = AmortisedConfig(
        batch_size=100,
        max_band=6,
        encoder_width=256,
        encoder_layers=2,
        sleep_steps=25,
        sleep_batch=128,
        first_dreams=100_000,
        cycle_images=400,
        cycles=18,
    )
    run = folder(tmp_path_factory.mktemp("run") / "run")
    data = prepared(trial)
    # In units of prepared pixels, without anything beyond shell 5.
    # A projection is an integral: one voxel is 6 Å deep.
    scale = PIXEL_SIZE / data.normalization.fourier_scale(32)
    transform = half_space(jnp.asarray(trial.volume() * np.float32(scale)))
    low = jnp.asarray(shell_index(32, 3, half=True) <= 5)
    blurred = np.asarray(volume_from_half_space(jnp.where(low, transform, 0), 32))
    return trial, config, run, train_amortised(data, config, run, quiet, volume=blurred)


def test_an_encoder_learns_to_pose_images(found):
    """Chance is a median of 116°; no image was compared with more than 32 views."""
    trial, _, run, result = found
    errors = pose_errors(result.rotation, trial.rotation, result.shift, trial.shift)
    assert float(np.median(errors.angle)) < 40
    assert not errors.is_mirrored
    assert errors.shift is not None
    assert float(np.median(errors.shift)) < 6
    assert result.volumes.shape == (1, 32, 32, 32)
    assert float(result.fsc[5]) > 0.5
    assert result.score.mean() > 0
    assert config_from_dict(run.config["amortised"]).cycles == 18
    # Epochs that only dreamt pose no image: they tell no score.
    scores = [entry.get("score") for entry in result.history]
    assert scores[0] is None
    assert scores[-1] is not None
    assert 0 not in scores


def test_a_trained_encoder_poses_unseen_images(found):
    """Other images of the molecule, best pose first, whole batches or not."""
    _, _, run, _ = found
    model = load_poser(run)
    other = blob_set("rigid", 130, 0.3, 0)
    part = predict(model, prepared(other), count=3)
    assert part.rotation.shape == (130, 3, 3, 3)
    assert bool((np.diff(part.score, axis=1) <= 0).all())
    errors = pose_errors(part.rotation[:, 0], other.rotation)
    assert float(np.median(errors.angle)) < 60


def test_a_finished_run_is_not_trained_again(found):
    """Resuming where nothing is left gives the same poses."""
    trial, config, run, result = found
    again = train_amortised(prepared(trial), config, run, quiet)
    np.testing.assert_array_equal(again.rotation, result.rotation)


def test_conformations_are_learnt_at_known_poses(tmp_path):
    """CryoFIRE's field with poses given: the angle of the hinge shows in the latent."""
    trial = blob_set("hinge", 200, 2.0, 0)
    table = trial.table.replace(rotation=trial.rotation, shift=trial.shift)
    config = AmortisedConfig(
        scheme="gradient",
        use_gt_poses=True,
        sym_loss=False,
        z_dim=1,
        variational_het=True,
        hypervolume_dim=32,
        hypervolume_layers=1,
        encoder_width=64,
        encoder_layers=1,
        batch_size=50,
        num_epochs=4,
        lr=3e-3,
        output_mask="circ",
    )
    found = train_amortised(
        PreparedImages.build(table, trial.source), config, folder(tmp_path / "run"), quiet
    )
    assert found.latents is not None
    assert found.latents.mean.shape == (200, 1)
    assert found.volumes.shape == (2, 32, 32, 32)
    np.testing.assert_allclose(found.rotation, trial.rotation, atol=1e-6)
    assert "poses are those given" in found.verdict
    data = PreparedImages.build(table, trial.source)
    again = encode(Run.open(tmp_path / "run"), data, trial.rotation, trial.shift)
    assert again.latents is not None
    np.testing.assert_allclose(again.latents.mean, found.latents.mean, atol=1e-5)


def test_the_seed_s_scheme_runs(tmp_path):
    """Encoder with convolutions, symmetric loss, random latents first; it claims no rest."""
    trial = blob_set("hinge", 64, 2.0, 0)
    config = AmortisedConfig(
        scheme="gradient",
        encoder="cnn",
        heads=1,
        z_dim=2,
        pose_only_phase="64 images",
        add_one_frequency_every="64 images",
        depth_cnn=2,
        channels_cnn=2,
        hypervolume_dim=16,
        hypervolume_layers=1,
        batch_size=32,
        num_epochs=3,
        lr=3e-3,
    )
    run = folder(tmp_path / "run")
    found = train_amortised(prepared(trial), config, run, quiet)
    assert found.rotation.shape == (64, 3, 3)
    bands = [entry["band"] for entry in run.metrics() if entry.get("epoch_mean")]
    assert bands == [3.0, 4.0, 5.0]
    assert np.isfinite([entry["loss"] for entry in run.metrics()]).all()
    assert not found.converged
    assert "whether poses rest is not known" in found.verdict


def test_known_poses_must_be_there(tmp_path):
    """The line names the table."""
    config = AmortisedConfig(scheme="gradient", use_gt_poses=True, sym_loss=False)
    with pytest.raises(InputError, match="has no poses"):
        train_amortised(
            prepared(blob_set("rigid", 8, 1.0, 0)), config, folder(tmp_path / "run"), quiet
        )

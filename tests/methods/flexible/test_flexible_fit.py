"""A whole flexible fit of a small set: what it finds, what it leaves, how it goes on."""

import shutil
from dataclasses import asdict, replace

import jax.numpy as jnp
import numpy as np
import pytest
from starlette.testclient import TestClient

from vitreous.analysis.motion import motion_facts, motion_variables
from vitreous.cli import main as program
from vitreous.dashboard.app import build_app
from vitreous.dashboard.guard import Keys
from vitreous.dashboard.session import Session
from vitreous.errors import InputError
from vitreous.maps import write_map
from vitreous.methods.flexible.config import FlexibleConfig
from vitreous.methods.flexible.fit import optimize_deformations
from vitreous.methods.flexible.run_files import load_flexible, load_state
from vitreous.methods.flexible.starts.encoder_start import measure_encoder
from vitreous.particles import ImageSource
from vitreous.simulation.hinges import HingeTrial, hinge_set, write_hinge_set
from vitreous.training.fit import FitOptions
from vitreous.training.inputs import DataOptions, prepared_images, read_checked
from vitreous.training.registry import evaluator, gaussian_model
from vitreous.training.run import Run

# The arm swings by half a pixel, root mean square; SNR 10 makes up for few images.
TRIAL = HingeTrial(box=16, pixel_size=8.0, count=64, snr=10.0)
CONFIG = FlexibleConfig(gaussians=60, zdim=1, epochs=8, warmup=1, batch_size=16, max_shell=7)
QUIET = FitOptions(checkpoint_every=4, quiet=True)


@pytest.fixture(scope="module")
def particles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hinge")
    write_hinge_set(folder, TRIAL)
    return folder / "particles.star"


@pytest.fixture(scope="module")
def run(particles):
    return optimize_deformations(particles, particles.parent / "run", CONFIG, options=QUIET)


@pytest.mark.slow
def test_a_hinge_is_found_by_both_halves(run):
    truth = hinge_set(TRIAL)
    z = run.latents().mean[:, 0]
    assert abs(np.corrcoef(z, truth.angle)[0, 1]) > 0.9
    with np.load(run.path / "agreement.npz") as found:
        assert found["correlation"] > 0.8
        assert found["particle_error"].shape == (64,)
        assert found["latents_half2"].shape == (64, 1)


@pytest.mark.slow
def test_an_encoder_tells_latents_before_anything_is_fitted(run, particles):
    method, _ = load_state(run)
    table = read_checked(DataOptions().particle_arguments(particles))
    data = prepared_images(
        *(table, ImageSource(table), DataOptions(), method.pixels),
        *(run.config["contrast"], run.config["normalization"]),
    )
    first = measure_encoder(method.encoding, method.start, data).latents[:, 0]
    assert abs(np.corrcoef(first, hinge_set(TRIAL).angle)[0, 1]) > 0.8


@pytest.mark.slow
def test_a_run_decodes_tells_of_unseen_images_and_of_its_gaussians(run, particles):
    model = load_flexible(run)
    images = np.concatenate([half.images for half in model.halves])
    assert sorted(images) == list(range(64))
    still, bent = run.decode(np.array([[0.0], [1.5]]))
    assert still.shape == (16, 16, 16)
    assert np.abs(still - bent).max() > 0.05 * still.max()
    again = evaluator("flexible")(run, particles, DataOptions())
    # The same search on the same images, but for the noise that every optics group had.
    np.testing.assert_allclose(again.latents.mean, run.latents().mean, atol=0.05)
    positions, moved, widths = gaussian_model("flexible")(run, 8)(np.zeros((1, 1), np.float32))
    assert positions.shape == (60, 3)
    assert not moved.any()
    assert (widths > 0).all()
    assert (run.path / "forward_deformations/volumes/volume_half2_008.mrc").is_file()


@pytest.mark.slow
def test_the_page_and_the_report_show_how_it_moves(run):
    keys = Keys()
    with Session(run.path) as session:
        page = TestClient(
            build_app(session, keys),
            base_url="http://127.0.0.1:8000",
            headers={"X-Token": keys.session},
        )
        assert page.get("/api/run").json()["can"]["flexible"]
        shown = page.get("/api/flexible/gaussians?particle=3").json()
    half = load_flexible(run).halves[0]
    z = run.latents().mean[3:4]
    moved = half.deformation(half.gaussians.positions, jnp.asarray(z))[0]
    np.testing.assert_allclose(shown["displacements"], moved, atol=1e-3)
    np.testing.assert_allclose(shown["positions"], half.gaussians.positions, atol=1e-3)
    # What the report says is what agreement.npz holds, a value a particle.
    facts = dict(motion_facts(run))
    amount, error = motion_variables(run, TRIAL.count)
    motion = float(facts["motion"].split()[0])
    assert motion == pytest.approx(np.sqrt(np.mean(amount.values**2)), abs=0.01)
    assert f"to {np.sqrt(np.mean(error.values**2)):.2f} Å" in facts["half sets agree on it"]
    assert motion_variables(run, TRIAL.count - 1) == []
    # Nothing moves at a latent of 0, and more the farther from it.
    assert np.corrcoef(amount.values, np.abs(run.latents().mean[:, 0]))[0, 1] > 0.8


@pytest.mark.slow
def test_an_interrupted_fit_ends_with_the_same_bits(run, particles, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run.path, copy)
    shutil.rmtree(copy / "checkpoints" / "8000000")
    again = optimize_deformations(particles, copy, CONFIG, options=QUIET, resume=True)
    for name in ("latents.npz", "agreement.npz"):
        with np.load(run.path / name) as one, np.load(again.path / name) as two:
            for key in one:
                np.testing.assert_array_equal(one[key], two[key])


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("--initial-model lost.mrc", "lost.mrc: no such file"),
        ("--mask-file lost.mrc", "lost.mrc: no such file"),
        ("--deformation-masks lost", "lost: no such folder"),
        ("--n-epochs 3 --n-warmup-epochs 3", "leaves none of 3 epochs"),
        ("--initial-model a.mrc --atomic-model b.pdb", "not both"),
        ("--checkpoint-file elsewhere/run", "of another run"),
        ("--n-gaussians 0", "--n-gaussians must be at least 1"),
        ("--lr -1", "--lr must be a number above 0"),
        ("--kld-factor -1", "--kld-factor must be 0 or more"),
        ("--n-modes 0", "--n-modes must be at least 1"),
    ],
)
def test_what_cannot_be_used_is_a_line(words, complaint, particles, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        program.main(
            ["optimize-deformations", str(particles), str(tmp_path / "run"), *words.split()]
        )
    error = capsys.readouterr().err.strip().splitlines()
    assert stop.value.code == 2
    assert len(error) == 1
    assert complaint in error[0]
    assert not (tmp_path / "run").exists()


def test_a_run_goes_on_with_its_own_images_only(particles, tmp_path):
    settings = {"method": "flexible", "box": 20, "images": 64, "flexible": asdict(CONFIG)}
    run = Run.create(tmp_path / "run", settings)
    for changed, complaint in (({}, "made from 20"), ({"box": 16, "images": 60}, "from 60 images")):
        run.update_config(**changed)
        before = (run.path / "config.yaml").read_bytes()
        with pytest.raises(InputError, match=complaint):
            optimize_deformations(particles, run.path, replace(CONFIG, epochs=9), resume=True)
        assert (run.path / "config.yaml").read_bytes() == before


def test_masks_are_looked_at_before_an_older_run_makes_way(particles, tmp_path):
    run = Run.create(tmp_path / "run", {"method": "flexible"})
    write_map(tmp_path / "mask.mrc", np.zeros((16, 16, 16)), TRIAL.pixel_size)
    config = replace(CONFIG, mask_file=str(tmp_path / "mask.mrc"))
    with pytest.raises(InputError, match="the mask is empty"):
        optimize_deformations(particles, run.path, config, overwrite=True)
    assert Run.open(run.path).config == run.config


@pytest.mark.slow
def test_too_many_gaussians_leave_no_run_behind_and_an_older_one_alone(particles, tmp_path):
    config = replace(CONFIG, gaussians=4000)
    with pytest.raises(InputError, match="fewer than the 4000 Gaussians"):
        optimize_deformations(particles, tmp_path / "run", config, options=QUIET)
    assert not (tmp_path / "run").exists()
    older = Run.create(tmp_path / "run", {"method": "flexible"})
    with pytest.raises(InputError, match="fewer than the 4000 Gaussians"):
        optimize_deformations(particles, older.path, config, options=QUIET, overwrite=True)
    assert Run.open(older.path).config == older.config


def test_particles_and_folder_come_once_by_either_name(particles, tmp_path, capsys):
    for words in ([str(particles)], ["--output-directory", str(tmp_path / "run")]):
        with pytest.raises(SystemExit) as stop:
            program.main(["optimize-deformations", *words])
        assert stop.value.code == 2
        assert "given: as an argument or by --" in capsys.readouterr().err


def test_a_run_of_another_method_has_no_gaussians(tmp_path):
    run = Run.create(tmp_path / "run", {"method": "latent", "box": 16, "pixel_size": 4.0})
    with pytest.raises(InputError, match="this needs one of optimize-deformations"):
        load_flexible(run)

"""Commands that undo a run's motion: what they write, and what they refuse in one line."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from vitreous.maps import read_map, write_map
from vitreous.methods.flexible.gaussian_model import GaussianModel
from vitreous.methods.flexible.run_files import FlexibleModel, HalfModel
from vitreous.methods.flexible.undoing.inverse_network import InverseFit, fresh_inverse
from vitreous.simulation.hinges import HingeField, HingeTrial, write_hinge_set
from vitreous.training.run import Run

BOX = 20
TRIAL = HingeTrial(BOX, 5.0, 160, spread=25.0, snr=None, sigma=5.0, pivot=-18.0, max_shift=4.0)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run whose model is the truth."""
    folder = tmp_path_factory.mktemp("undo")
    table = write_hinge_set(folder / "set", TRIAL)
    config = {
        "method": "flexible",
        "particles": {"path": str(folder / "set" / "particles.star")},
        "images": len(table),
        "box": BOX,
        "pixel_size": 5.0,
    }
    run = Run.create(folder / "run", config)
    hinge = TRIAL.motion.hinge
    atoms = jnp.concatenate([hinge.body, hinge.arm])
    gaussians = GaussianModel(atoms, jnp.zeros(len(atoms)), jnp.full(len(atoms), 1.6))
    with np.load(folder / "set" / "truth.npz") as truth:
        angle = truth["t"][:, None].astype(np.float32)
    halves = []
    for half in (0, 1):
        rows = np.flatnonzero(table.half_set == half)
        halves.append(HalfModel(gaussians, HingeField(hinge), rows, angle[rows]))
    return run, FlexibleModel((halves[0], halves[1]), BOX, 5.0, np.ones((1, 10)), None)


@pytest.fixture
def folder(made, monkeypatch):
    """Its folder, whose model is found without a fit."""
    opened, model = made
    for room in ("undoing.backproject", "undoing.inverse_files"):
        name = f"vitreous.methods.flexible.{room}.load_flexible"
        monkeypatch.setattr(name, lambda run, epoch=None: model)
    return opened.path


def test_maps_curves_and_a_verdict(run, folder, tmp_path) -> None:
    job = tmp_path / "job"
    job.mkdir()
    status, out, err = run("deformable-backprojection", folder, "--pipeline-control", job,
                           "--gpu-id", "0", "--backprojection-batch-size", "32")  # fmt: skip
    assert status == 0
    assert any("--gpu-id" in line for line in err)
    assert [path.name for path in job.iterdir()] == ["RELION_JOB_EXIT_SUCCESS"]
    made = folder / "backprojection"
    told = json.loads((made / "verdict.json").read_text())
    assert out.splitlines()[-1] == told["line"]
    assert told["parts"]["moving"]["moves_angstrom"] > told["parts"]["still"]["moves_angstrom"]
    for name in ("map_half1", "map_half2", "map", "plain_map_half1", "local_resolution", "motion"):
        found = read_map(made / f"{name}.mrc")
        assert found.data.shape == (BOX,) * 3
        assert found.voxel_size == pytest.approx(5.0)
    assert "plain_moving deformed_moving" in (made / "fsc.txt").read_text()
    assert (made / "slices.png").stat().st_size > 1000


def test_nothing_undone_is_no_change(run, folder, tmp_path) -> None:
    words = ("--no-do-deformations", "-o", tmp_path / "plain", "--mask-reconstruction",
             "--max-difference", "5", "--backprojection-batch-size", "32")  # fmt: skip
    # As a fit leaves it: on four images in ten the half sets differ by 7 Å.
    error = np.where(np.arange(TRIAL.count) % 10 < 4, 7.0, 1.0)
    np.savez(folder / "agreement.npz", particle_error=error)
    status, out, _ = run("deformable-backprojection", folder, *words)
    assert status == 0
    assert "no change" in out
    plain, same = (read_map(tmp_path / "plain" / name) for name in ("plain_map.mrc", "map.mrc"))
    np.testing.assert_array_equal(plain.data, same.data)
    assert f"{TRIAL.count * 6 // 10} images" in out
    solvent = read_map(tmp_path / "plain" / "mask_whole.mrc").data == 0
    assert solvent.any()
    assert not same.data[solvent].any()
    assert read_map(tmp_path / "plain" / "map_half1.mrc").data[solvent].any()
    status, _, err = run("deformable-backprojection", folder, "--max-difference", "0.5")
    assert (status, len(err)) == (2, 1)
    assert "leaves no image" in err[0]


def test_maps_are_deformed_to_states(run, folder, tmp_path, monkeypatch) -> None:
    """Fitting and inverting are tried where they live."""

    def unfitted(half, options, progress):
        progress(options.epochs, options.epochs)
        return InverseFit(fresh_inverse(half), 0.1, 2.0)

    monkeypatch.setattr("vitreous.methods.flexible.undoing.inverse_files.fit_inverse", unfitted)
    kept = "vitreous.methods.flexible.undoing.inverse_files.deform_map"
    monkeypatch.setattr(kept, lambda volume, *rest: volume)
    write_map(tmp_path / "rest.mrc", TRIAL.motion.volumes()[2], 5.0)
    status, out, _ = run("optimize-inverse-deformations", folder, "--n-epochs", "2",
                         "--map", tmp_path / "rest.mrc", "--image", "3")  # fmt: skip
    assert status == 0
    assert out.count("back-projection does not need it") == 2
    assert (folder / "inverse_deformations" / "rest_image_3.mrc").is_file()
    assert (folder / "inverse_deformations" / "inverse.npz").is_file()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--mask-file", "small.mrc"), "box of 20"),
        (("--mask-file", "coarse.mrc"), "Å a voxel"),
        (("--mask-file", "empty.mrc"), "nothing would be undone"),
        (("--mask-file", "lost.mrc"), "lost.mrc"),
        (("--vae-directory", "other/checkpoints/1000000"), "of another run"),
        (("--vae-directory", "nowhere.pth"), "no such checkpoint"),
        (("--downsample", "0"), "--downsample"),
    ],
)
def test_what_cannot_be_used(run, folder, tmp_path, monkeypatch, words, told) -> None:
    monkeypatch.chdir(tmp_path)
    write_map("small.mrc", np.ones((8, 8, 8)), 5.0)
    write_map("coarse.mrc", np.ones((BOX,) * 3), 7.0)
    write_map("empty.mrc", np.zeros((BOX,) * 3), 5.0)
    (tmp_path / "other" / "checkpoints" / "1000000").mkdir(parents=True)
    (tmp_path / "other" / "config.yaml").write_text("method: flexible\n")
    status, out, err = run("deformable-backprojection", folder, *words)
    assert (status, out, len(err)) == (2, "", 1)
    assert told in err[0]


def test_the_peers_variants_lead_here(run, tmp_path) -> None:
    status, _, err = run("deformable-backprojection-correction", tmp_path)
    assert (status, len(err)) == (2, 1)
    assert "--max-difference" in err[0]
    for name in ("deformable-backprojection-single", "optimize-inverse-deformations-single"):
        status, _, err = run(name, tmp_path / "none")
        assert (status, len(err)) == (2, 1)
        assert "no run folder" in err[0]


# As its own table of options has them, but those that are paths of the run.
_OF_ALL = "--refinement-star-file a.star --gpu-id 0 --no-preload-images --particle-diameter 100"
_LOADED = f"{_OF_ALL} --mask-soft-edge-width 20 --data-loader-threads 4 --pipeline-control job"
PEERS = {
    "optimize-inverse-deformations": f"{_LOADED} --checkpoint-file c.pth --batch-size 0 "
    "--n-epochs 50 --no-add-noise --no-save-deformations",
    "optimize-inverse-deformations-single": "--n-epochs 50",
    "deformable-backprojection": f"{_LOADED} --mask-file m.mrc --vae-directory c.pth --batch-size "
    "24 --inverse-deformation-directory inv --backprojection-batch-size 1 --downsample 2 "
    "--no-mask-reconstruction --do-deformations --checkpoint-file c.pth",
    "explore-latent-space": f"{_OF_ALL} --checkpoint-file c.pth --half-set 1 --mask-file m.mrc "
    "--soft-edge-width 20 --batch-size 100 --n-workers 8 --dimensionality-reduction-method UMAP "
    "--inverse-deformation inv --atomic-model a.pdb --no-reduce-by-deformation --no-cluster",
    "compute-rigid-transforms": f"{_LOADED} --checkpoint-file c.pth --batch-size 100 --mask m "
    "--no-rigid",
    "compute-masks-for-rigid-transforms": f"{_LOADED} --checkpoint-file c.pth --batch-size 100 "
    "--number-of-masks 4 --refinement-iterations 2 --mask-resolution 20",
}


# The fit's options stand for those of its two variants, too.
_FIT = (
    "--initial-model map.mrc --atomic-model a.pdb --initial-threshold 0.1 --initial-resolution 8 "
    "--mask-file m.mrc --checkpoint-file c.pth --n-gaussians 30000 --n-gaussian-widths 1 "
    "--n-latent-dimensions 6 --n-positional-encoding-dimensions 10 --n-linear-layers 8 "
    "--n-neurons-per-layer 32 --n-warmup-epochs 3 --weight-decay 0 --consensus-update-rate 1 "
    "--consensus-update-decay 0.95 --consensus-update-pooled-particles 100 "
    "--regularization-factor 0.9 --apply-bfactor 0 --particle-diameter 200 --soft-edge-width 20 "
    "--batch-size 128 --gpu-id 0 --n-epochs 150 --n-threads 4 --n-workers 4 --preload-images "
    "--combine-resolution 8 --pipeline-control job --no-use-data-normalization --kld-factor 0.01 "
    "--deformation-masks masks"
)


@pytest.mark.parametrize("name", [f"optimize-deformations{x}" for x in ("", "-single", "-rigid")])
def test_every_option_of_the_peers_fit_is_understood(parse, name) -> None:
    released = ["--refinement-star-file", "a.star", "--output-directory", "out"]
    assert str(parse([name, *released, *_FIT.split()])["output_directory"]) == "out"
    both = parse([name, "a.star", "out", "--use-data-normalization", "--no-preload-images"])
    assert (both["use_data_normalization"], both["preload_images"]) == (True, False)


@pytest.mark.parametrize("name", PEERS)
def test_every_option_of_the_peer_is_understood(parse, name) -> None:
    assert str(parse([name, "out", *PEERS[name].split()])["run"]) == "out"


def test_a_run_without_a_model(run, tmp_path) -> None:
    Run.create(tmp_path / "latent", {"method": "latent"})
    Run.create(tmp_path / "begun", {"method": "flexible"})
    for name, told in (("latent", "method latent"), ("begun", "stopped before it began")):
        for command in ("deformable-backprojection", "optimize-inverse-deformations"):
            status, _, err = run(command, tmp_path / name)
            assert status == 2
            assert told in err[-1]
    status, _, err = run("optimize-inverse-deformations", tmp_path / "begun", "--image", "1")
    assert status == 2
    assert "--map and --image" in err[-1]

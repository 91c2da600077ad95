"""`abinit` from a particle file to a run that later commands take; stopped, and gone on with."""

import json
import os
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest

from vitreous.cli.main import main
from vitreous.cli.stages import Stages
from vitreous.geometry.rotations import geodesic_distance
from vitreous.maps import read_map, write_map
from vitreous.methods.abinitio import conformations, division
from vitreous.metrics import pose_errors
from vitreous.particles import read_particles
from vitreous.particles.peer_pickles import read_pose_pickle
from vitreous.particles.stack import write_stack
from vitreous.simulation.blobs import PIXEL_SIZE, blob_set
from vitreous.training.run import Run

pytestmark = pytest.mark.slow

COUNT = 300
# Few starts and passes, shifts of at most two pixels; all else as anybody has it.
QUICK = ["--restarts", "1", "--passes", "2", "--max-shift", "12", "--no-analysis"]


@pytest.fixture(scope="module")
def blobs():
    return blob_set("rigid", COUNT, 1.0, 0)


@pytest.fixture(scope="module")
def found(blobs, tmp_path_factory):
    """A run on dark images, and a copy of its folder when the first pass was over."""
    folder = tmp_path_factory.mktemp("abinit")
    write_stack(folder / "images.mrcs", -blobs.source.images, PIXEL_SIZE)
    table = blobs.table.replace(stacks=(str(folder / "images.mrcs"),))
    table.to_star(folder / "dark.star")
    words = ["abinit", str(folder / "dark.star"), *QUICK, "-o"]
    told = Stages.__call__

    def copying(self, stage, done, total):
        if (stage, done) == ("passes", 2):
            shutil.copytree(folder / "run", folder / "killed")
        told(self, stage, done, total)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stages, "__call__", copying)
        main([*words, str(folder / "run")])
    return folder, words


def test_poses_are_found_from_dark_images_alone(blobs, found):
    run = Run.open(found[0] / "run")
    assert run.config["contrast"] == "dark"
    table = run.table()
    errors = pose_errors(table.rotation, blobs.rotation, table.shift, blobs.shift)
    # The bound of these images is a median of 1.9°; wrong modes are none of the method's business.
    assert np.median(errors.angle) < 5
    assert np.mean(errors.angle < 20) > 0.9
    assert np.median(errors.shift) < 2
    fsc = np.loadtxt(run.path / "fsc.txt", skiprows=1)[:, 1]
    assert (fsc[1:7] > 0.8).all()
    told = json.loads((run.path / "found.json").read_text())
    assert {entry["phase"] for entry in told["history"]} == {"start 1 of 1", "passes", "joint"}
    assert all(entry["images_per_second"] > 0 for entry in told["history"][1:])


def test_all_files_of_poses_agree(found):
    run = Run.open(found[0] / "run")
    star = read_particles(run.path / "particles.star")
    rotation, shift = read_pose_pickle(run.path / "pose.pkl")
    np.testing.assert_allclose(star.rotation, rotation, atol=1e-5)
    np.testing.assert_allclose(star.shift, shift * 32 * PIXEL_SIZE, atol=1e-4)
    np.testing.assert_array_equal(run.table().rotation, rotation)
    for name in ("consensus", "consensus_mirrored", "half_map_a", "half_map_b"):
        volume = read_map(run.path / "volumes" / f"{name}.mrc")
        assert (volume.data.shape, volume.voxel_size) == ((32, 32, 32), PIXEL_SIZE)
    pictures = {path.name for path in (run.path / "figures").iterdir()}
    assert {"poses.png", "slices.png", "fsc.png"} <= pictures
    assert any((run.path / "tensorboard").iterdir())


def test_a_killed_run_goes_on_as_if_nothing_had_happened(found):
    folder, words = found
    killed = Run.open(folder / "killed")
    assert not (killed.path / "found.json").exists()
    main([*words, str(killed.path), "--resume"])
    whole = Run.open(folder / "run").table()
    np.testing.assert_array_equal(killed.table().rotation, whole.rotation)
    np.testing.assert_array_equal(killed.table().shift, whole.shift)


def test_a_signal_stops_the_command_and_says_how_to_go_on(found, run, monkeypatch):
    folder, words = found

    def stop(self, stage, done, total):
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Stages, "__call__", stop)
    outcome = run(*words, folder / "stopped")
    assert outcome.status == 0
    assert "stopped by SIGTERM" in outcome.err[-1]
    assert outcome.err[-1].endswith("--resume")


def test_later_commands_take_the_run(found, run, tmp_path):
    folder = found[0] / "run"
    assert run("eval-vol", folder, "-o", tmp_path / "map.mrc").status == 0
    decoded = read_map(tmp_path / "map.mrc").data
    consensus = read_map(folder / "volumes" / "consensus.mrc").data
    np.testing.assert_allclose(decoded, consensus, atol=1e-4 * np.abs(consensus).max())
    outcome = run("analyze", folder)
    assert outcome.status == 2
    assert "report.html" in outcome.err[-1]


def test_a_fit_begins_with_the_poses_of_an_earlier_run(blobs, found, run, tmp_path, monkeypatch):
    """Poses of the same images are refined, not searched; the sign is taken over.

    Conformations are looked for on the way: the images show none, so poses must not suffer.
    """
    folder, words = found
    # Enough to go all the way once.
    few = {"divided": 2, "doubled": 2, "refilled": 2}
    monkeypatch.setattr(conformations, "_PASSES", few)
    monkeypatch.setattr(division, "_DRIFT", replace(division._DRIFT, iterations=2))
    words = [*words, tmp_path / "run", "--load", folder / "run", "--zdim", "1"]
    assert run(*words).status == 0
    later = Run.open(tmp_path / "run")
    assert later.config["contrast"] == "dark"
    table = later.table()
    assert np.median(pose_errors(table.rotation, blobs.rotation).angle) < 5
    told = json.loads((later.path / "found.json").read_text())
    assert not any("start" in entry["phase"] for entry in told["history"])
    assert any("2 maps" in entry["phase"] for entry in told["history"])
    assert later.latents().mean.shape == (COUNT, 1)
    assert run("eval-vol", later.path, "-z", "0.5", "-o", tmp_path / "map.mrc").status == 0
    assert (later.path / "figures" / "latents.png").is_file()


def test_poses_of_a_map_that_is_held_are_found_in_its_frame(blobs, found, run, tmp_path):
    words = found[1]
    # Images integrate over Å, the projection of a map sums over voxels.
    write_map(tmp_path / "map.mrc", blobs.volume() * PIXEL_SIZE, PIXEL_SIZE)
    words = [*words, tmp_path / "run", "--initial-map", tmp_path / "map.mrc", "--keep-map"]
    assert run(*words).status == 0
    held = Run.open(tmp_path / "run")
    assert np.median(geodesic_distance(held.table().rotation, blobs.rotation)) < 4
    kept = read_map(held.path / "volumes" / "consensus.mrc").data
    np.testing.assert_allclose(kept, blobs.volume() * PIXEL_SIZE, rtol=1e-4, atol=1e-5)
    refused = run(*found[1], tmp_path / "other", "--keep-map")
    assert refused.status == 2
    assert "--initial-map" in refused.err[-1]

"""The run folder."""

import numpy as np
import pytest
from toy import toy_table

from vitreous.errors import InputError
from vitreous.particles import read_particles
from vitreous.particles.peer_pickles import read_pose_pickle
from vitreous.particles.stack import write_stack
from vitreous.training import registry
from vitreous.training.pose_files import save_poses
from vitreous.training.run import Latents, Run


def decode_constant(run, epoch):
    """Stand for a method's decoder: volumes filled with the latent and the epoch."""
    return lambda z: np.broadcast_to(z[:, :1, None, None] + epoch, (len(z), 4, 4, 4))


def test_a_folder_holds_one_run(tmp_path):
    run = Run.create(tmp_path / "a", {"method": "toy", "box": 4, "pixel_size": np.float64(2.5)})
    assert (run.box, run.pixel_size, run.method) == (4, 2.5, "toy")
    with pytest.raises(InputError, match="--resume"):
        Run.create(tmp_path / "a", {})
    (tmp_path / "a" / "notes.txt").write_text("mine")
    run.save_latents(Latents(np.zeros((3, 2), np.float32)), 1)
    # States of the older run would be taken for those of the new one.
    (run.path / "landscape.1" / "kmeans3").mkdir(parents=True)
    (run.path / "benchmark.1.json").write_text("{}")
    (tmp_path / "scratch").mkdir()
    (run.path / "checkpoints").symlink_to(tmp_path / "scratch")
    again = Run.create(tmp_path / "a", {"method": "other"}, overwrite=True)
    assert again.method == "other"
    assert sorted(p.name for p in again.path.iterdir()) == ["config.yaml", "notes.txt"]


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no config\.yaml"):
        Run.open(tmp_path)
    (tmp_path / "config.yaml").write_text("a: [")
    with pytest.raises(InputError, match="not YAML"):
        Run.open(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        Run.create(tmp_path / "file", {})


def test_latents_are_kept_by_epoch(tmp_path):
    run = Run.create(tmp_path / "a", {})
    for epoch in (1, 2):
        z = np.full((5, 3), epoch, np.float32)
        run.save_latents(Latents(z, -z), epoch)
    assert run.latents(1).mean[0, 0] == 1
    assert run.latents().mean[0, 0] == 2
    assert run.latents().log_variance[0, 0] == -2
    with pytest.raises(InputError, match=r"latents\.7"):
        run.latents(7)


def test_any_registered_method_decodes(tmp_path, monkeypatch, run_toy):
    monkeypatch.setitem(registry.METHODS, "toy", f"{__name__}:decode_constant")
    run_toy(epochs=2)
    run = Run.open(tmp_path / "run")
    run.update_config(box=4)
    z = np.arange(5, dtype=np.float32)[:, None]
    assert np.array_equal(run.decode(z, batch_size=2)[:, 0, 0, 0], np.arange(5) + 2)
    assert np.array_equal(run.decode(z, epoch=1)[:, 0, 0, 0], np.arange(5) + 1)
    assert run.decode(z[:0]).shape == (0, 4, 4, 4)
    run.update_config(method="unheard")
    with pytest.raises(InputError, match="unknown method 'unheard'"):
        Run.open(tmp_path / "run").decode(z)


def test_the_table_is_read_again_selection_included(tmp_path):
    home = tmp_path / "project"
    write_stack(home / "toy.mrcs", np.random.default_rng(0).normal(size=(9, 16, 16)), 2.0)
    table = toy_table(9)
    table = table.replace(stacks=(str(home / "toy.mrcs"),))
    table.to_star(home / "particles.star")
    np.savetxt(home / "keep.txt", [1, 4, 7], fmt="%d")
    arguments = {"path": home / "particles.star", "ind": home / "keep.txt", "datadir": home}
    run = Run.create(home / "run", {"particles": arguments, "images": 3})
    np.testing.assert_array_equal(run.table().row, [1, 4, 7])
    np.testing.assert_allclose(run.table().shift[:, 0], [1, 4, 7], atol=1e-4)

    home.rename(tmp_path / "moved")
    moved = Run.open(tmp_path / "moved" / "run")
    np.testing.assert_array_equal(moved.table().row, [1, 4, 7])
    assert moved.table().stacks == (str(tmp_path / "moved" / "toy.mrcs"),)

    np.savetxt(tmp_path / "moved" / "keep.txt", [1, 4], fmt="%d")
    with pytest.raises(InputError, match="holds 2 particles, the run was made from 3"):
        moved.table()


def test_poses_that_a_run_found_are_the_ones_its_table_gives(tmp_path):
    """One way for all methods: whatever reads the run's table later has the new poses."""
    write_stack(tmp_path / "toy.mrcs", np.random.default_rng(0).normal(size=(5, 16, 16)), 2.0)
    table = toy_table(5).replace(stacks=(str(tmp_path / "toy.mrcs"),))
    table.to_star(tmp_path / "particles.star")
    arguments = {"path": tmp_path / "particles.star", "ind": [4, 1, 2]}
    run = Run.create(tmp_path / "run", {"particles": arguments, "images": 3})
    turned = np.stack([np.diag([1.0, -1.0, -1.0]).astype(np.float32)] * 3)
    moved = np.arange(6, dtype=np.float32).reshape(3, 2)
    save_poses(run, run.table().replace(rotation=turned, shift=moved))
    for found in (run.table(), read_particles(run.path / "particles.star")):
        np.testing.assert_allclose(found.rotation, turned, atol=1e-6)
        np.testing.assert_allclose(found.shift, moved, atol=1e-5)
        assert found.stacks == (str(tmp_path / "toy.mrcs"),)
    np.testing.assert_array_equal(run.table().row, [4, 1, 2])
    rotation, shift = read_pose_pickle(run.path / "pose.pkl")
    np.testing.assert_allclose(rotation, turned, atol=1e-6)
    np.testing.assert_allclose(shift * 16 * 2.0, moved, atol=1e-4)
    assert not (Run.create(run.path, {}, overwrite=True).path / "poses.npz").exists()


def test_a_run_of_another_method_is_told(tmp_path):
    run = Run.create(tmp_path / "run", {"method": "latent"})
    run.check_method("latent")
    with pytest.raises(InputError, match="a run of the method latent, not flexible"):
        run.check_method("flexible")

"""Runs that lack something, are still being fitted, or were moved: the page says so and goes on."""

import json
import os
import shutil

import numpy as np
import pytest
from dashboard_run import (
    COUNT,
    DIMENSIONS,
    PIXEL,
    ball_volume,
    command,
    make_run,
    opened,
    told,
    write_config,
)

from vitreous.analysis.landscape_files import write_space
from vitreous.analysis.volume_space import VolumeSpace
from vitreous.dashboard.session import Session
from vitreous.errors import InputError
from vitreous.maps import read_map, write_map
from vitreous.training import registry


@pytest.fixture
def as_map(tmp_path):
    def read(answer):
        assert answer.status_code == 200, answer.text
        (tmp_path / "answer.mrc").write_bytes(answer.content)
        return read_map(tmp_path / "answer.mrc")

    return read


def test_views_that_a_run_lacks_say_how_to_get_them(client, monkeypatch):
    landscape = client.get("/api/landscape").json()
    assert not landscape["available"]
    assert landscape["command"].startswith("vitreous analyze-landscape ")
    told(client.get("/api/landscape/volume/1"))
    answer = client.get("/api/flexible/gaussians?particle=0")
    assert answer.status_code == 404
    assert "no Gaussians" in told(answer)
    # The seam: one line of the registry.
    monkeypatch.setitem(registry.GAUSSIANS, "balls", "test_server_states:gaussians")
    for query in ("z=1,0.5,2", "axes=z2&z=0.5&particle=4"):
        found = client.get(f"/api/flexible/gaussians?{query}").json()
        assert found == {"positions": [[1, 2, 3]], "displacements": [[0.5, 0, 0]], "widths": [2]}
    assert "say which" in told(client.get("/api/flexible/gaussians"))
    assert client.get("/api/run").json()["can"]["flexible"]


def gaussians(run, epoch):
    """They are those of the epoch that volumes are decoded with."""
    assert epoch == 2

    def at(z):
        assert z.shape == (1, DIMENSIONS)
        return np.array([[1.0, 2, 3]]), np.array([[z[0, 1], 0, 0]]), np.array([2.0])

    return at


def test_a_landscape_is_shown_as_it_was_found(tmp_path, as_map):
    run = make_run(tmp_path)
    folder = run / "landscape.2"
    mask = np.ones((4, 4, 4), np.float32)
    scores = np.arange(6.0).reshape(3, 2).astype(np.float32)
    mean, axes = np.zeros(64, np.float32), np.eye(2, 64, dtype=np.float32)
    space = VolumeSpace(mask, mean, axes, np.array([2.0, 1.0]), 4.0)
    write_space(folder, space, scores, PIXEL)
    states, sketch = folder / "sketch_clustering_average_2", folder / "kmeans3"
    owner = np.repeat([0, 1, 2], [120, 80, 40])
    for path, array in (
        (states / "state_labels.npy", np.array([1, 2, 2])),
        (states / "particle_states.npy", np.array([1, 2, 2])[owner]),
        (sketch / "labels.npy", owner),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, array)
    # As text, vol_1000 would come first.
    for k in range(3):
        write_map(sketch / f"vol_{k + 998:03d}.mrc", np.full((4, 4, 4), k + 1.0), PIXEL)
    # What an earlier call with other numbers left is not part of it.
    write_map(folder / "kmeans2" / "vol_001.mrc", np.full((4, 4, 4), 9.0), PIXEL)
    stale = folder / "sketch_clustering_average_1" / "state_labels.npy"
    stale.parent.mkdir()
    np.save(stale, np.array([1, 1]))
    os.utime(stale, (1, 1))
    facts = {"volumes": 3, "explained": [0.5, 0.25], "particles_of_states": [120, 120]}
    (folder / "landscape.json").write_text(json.dumps(facts))
    with opened(run) as client:
        found = client.get("/api/landscape").json()
        assert found["available"]
        assert found["points"] == scores.tolist()
        assert found["stateOf"] == [1, 2, 2]
        assert found["sizes"] == [120, 80, 40]
        np.testing.assert_allclose(found["energies"], -np.log(np.array([3, 2, 1]) / 3), atol=1e-6)
        assert found["states"][1] == {"state": 2, "particles": 120, "energy": 0}
        assert as_map(client.get("/api/landscape/volume/3")).data.max() == 3
        for number in (0, 4):
            assert "has 3, counted from 1" in told(client.get(f"/api/landscape/volume/{number}"))
        state = {"range": {"column": "state", "low": 1, "high": 1}}
        assert client.post("/api/select", json={"rule": state}).headers["X-Count"] == "120"


def test_a_moved_stack_is_named_and_datadir_mends_it(tmp_path):
    run = make_run(tmp_path)
    (tmp_path / "stacks" / "two.mrcs").rename(tmp_path / "elsewhere.mrcs")
    with opened(run) as client:
        assert client.get("/api/montage?indices=1,2").status_code == 200
        line = told(client.get(f"/api/montage?indices=1,{COUNT - 1}"))
        assert "two.mrcs" in line
        assert "--datadir" in line
        assert "two.mrcs" in told(client.post("/api/regress", json={"rule": {"all": True}}))
    folder = tmp_path / "new"
    folder.mkdir()
    shutil.copy(tmp_path / "stacks" / "one.mrcs", folder)
    (tmp_path / "elsewhere.mrcs").rename(folder / "two.mrcs")
    (tmp_path / "particles.star").rename(folder / "particles.star")
    with opened(run) as client:
        about = client.get("/api/run").json()
        assert any("particles.star" in line for line in about["warnings"])
        assert not about["can"]["images"]
        assert "umap1" in {column["name"] for column in about["columns"]}
        line = told(client.get("/api/montage?indices=1"))
        assert "particles.star" in line
        assert "--datadir" in line
    with opened(run, folder) as client:
        assert client.get("/api/run").json()["warnings"] == []
        assert client.get(f"/api/montage?indices=1,{COUNT - 1}").status_code == 200


def test_a_run_still_training_opens_and_is_left_alone(tmp_path):
    run = make_run(tmp_path)
    lines = ['{"epoch": 1, "step": 5, "images": 9, "seconds": 1, "loss": 2.5}']
    lines.append('{"epoch": 1, "step": 10, "images": 9, "seconds": 2, "loss": 2, "epoch_mean": 1}')
    (run / "metrics.jsonl").write_text("\n".join(lines))
    write_config(run, balls={"epochs": 20})
    with opened(run) as client:
        about = client.get("/api/run").json()
        assert (about["state"], about["readOnly"]) == ("training", True)
        training = client.get("/api/training").json()
        assert (training["epoch"], training["epochs"], training["state"]) == (1, 20, "training")
        assert training["curves"] == {"loss": [[0.5, 2.5]], "loss (epoch)": [[1, 2]]}
        picture = client.get(training["pictures"][0]["url"])
        assert picture.content[:4] == b"\x89PNG"
        refused = client.put("/api/selections/x", json={"rule": {"cluster": [1]}})
        assert "still training" in told(refused)
        assert not (run / "selections").exists()
        assert client.get("/api/volume?particle=1").status_code == 200
    # Within its first epoch: neither latents nor weights.
    (tmp_path / "kept").mkdir()
    for name in ("latents.npz", "checkpoints"):
        shutil.move(run / name, tmp_path / "kept")
    with opened(run) as client:
        about = client.get("/api/run").json()
        assert about["particles"] == COUNT
        assert about["columns"] == []
        assert not any(about["can"].values())
        assert "no latents" in " ".join(about["warnings"])
        for path in ("/api/columns/z1", "/api/volume?particle=1", "/api/volume?consensus=1"):
            told(client.get(path))
        told(client.post("/api/select", json={"rule": {"all": True}}))
        assert client.get("/api/training").json()["pictures"] == []
        # The first epoch ends while the page is open.
        shutil.move(tmp_path / "kept" / "checkpoints", run)
        shutil.move(tmp_path / "kept" / "latents.npz", run)
        about = client.get("/api/run").json()
        assert about["can"]["decode"]
        assert about["defaultX"] == "umap1"
        assert not any("no latents" in line for line in about["warnings"])
        assert client.get("/api/volume?particle=1").status_code == 200


def test_what_cannot_be_read_is_left_out_and_told(tmp_path):
    run = make_run(tmp_path)
    np.save(run / "analyze.2" / "umap.npy", np.zeros((7, 2)))
    z = np.load(run / "latents.npz")["mean"]
    z[11] = np.nan
    np.savez(run / "latents.npz", mean=z)
    with opened(run) as client:
        about = client.get("/api/run").json()
        names = {column["name"] for column in about["columns"]}
        assert {"z1", "cluster", "tilt"} <= names
        assert not names & {"umap1", "pc1"}
        assert about["defaultX"] in names
        told_of = " ".join(about["warnings"])
        assert "7 values for 240 particles" in told_of
        assert "first in row 11" in told_of
        values = np.frombuffer(client.get("/api/columns/z1").content, "<f4")
        np.testing.assert_array_equal(values, z[:, 0])
        assert "row 11" in told(client.get("/api/columns/energy"))
        everything = {"rule": {"range": {"column": "z1", "low": -100}}}
        assert int(client.post("/api/select", json=everything).headers["X-Count"]) == COUNT - 1
        told(client.get("/api/volume?particle=11"))


def test_a_run_of_one_map_shows_its_particles(tmp_path, as_map):
    run = make_run(tmp_path)
    (run / "latents.npz").unlink()
    shutil.rmtree(run / "analyze.2")
    write_config(run, zdim=0, method="one ball")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.METHODS, "one ball", "test_server_states:load_one_map")
        with opened(run) as client:
            about = client.get("/api/run").json()
            assert (about["zdim"], about["particles"], about["warnings"]) == (0, COUNT, [])
            assert (about["defaultX"], about["defaultY"]) == ("rot", "tilt")
            assert about["can"]["consensus"]
            assert about["can"]["images"]
            assert not about["can"]["decode"]
            found = as_map(client.get("/api/volume?consensus=1")).data
            np.testing.assert_allclose(found, ball_volume(np.zeros(3)), atol=1e-6)
            assert client.get("/api/montage?indices=1,2&projections=1").status_code == 200
            rule = {"range": {"column": "tilt", "low": 90}}
            assert int(client.post("/api/select", json={"rule": rule}).headers["X-Count"]) > 50
            near = {"nearest": {"particle": 1, "count": 3}}
            assert "no latents" in told(client.post("/api/select", json={"rule": near}))
            path = {"kind": "pc"}
            assert "no latents" in told(client.post("/api/trajectory", json=path))


def load_one_map(run, epoch):
    return lambda z: np.stack([ball_volume(np.zeros(3)) for _ in z])


def test_an_epoch_and_a_clustering_can_be_chosen(tmp_path):
    run = make_run(tmp_path)
    labels = run / "analyze.2" / "kmeans2" / "labels.npy"
    labels.parent.mkdir()
    np.save(labels, np.arange(COUNT) % 2)
    with opened(run) as client:
        about = client.get("/api/run").json()
        assert "clusters" not in about
        assert any("--kmeans" in line for line in about["warnings"])
    shutil.copy(run / "latents.npz", run / "latents.2.npz")
    with opened(run, epoch=2, clusters=2) as client:
        assert client.get("/api/run").json()["clusters"] == 2
        answer = client.post("/api/select", json={"rule": {"cluster": [2]}})
        assert int(answer.headers["X-Count"]) == COUNT // 2
        assert "--epoch 2 --kmeans 2" in command(answer)
        assert "--epoch 2" in command(client.get("/api/volume?particle=1"))
    with pytest.raises(InputError, match="epoch 7"):
        Session(run, epoch=7)

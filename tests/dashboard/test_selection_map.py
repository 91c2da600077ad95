"""The map of a selection: its command, its neighbours, and what becomes of it without latents."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from dashboard_run import ball_volume, make_run, opened

from vitreous.cli.main import main
from vitreous.maps import read_map

# A thin slice: too few images for a map by themselves.
RULE = {"range": {"column": "z1", "low": 0.2, "high": 0.4}}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("chosen"), noise=6.0)


def regressed(client, rule):
    """Make a map by the page, and again by the command it shows; return what is told and it."""
    answer = client.post("/api/regress", json={"rule": rule})
    assert answer.status_code == 200, answer.text
    about = answer.json()
    for line in about["command"].split(" && "):
        main(shlex.split(line)[1:])
    Path("page.mrc").write_bytes(client.get(f"/api/regress/{about['id']}").content)
    made, same = (read_map(name).data for name in ("page.mrc", "chosen/vol_000.mrc"))
    np.testing.assert_allclose(same, made, atol=1e-5 * made.max())
    told = json.loads(Path("chosen/volumes.json").read_text())["volumes"][0]
    assert told["images_per_shell"] == about["images"]
    assert (told["method"], told["note"]) == (about["method"], about["note"])
    return about, made


def test_neighbours_help_and_without_latents_there_are_none(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    z = np.load(run / "latents.npz")["mean"]
    chosen = (z[:, 0] >= 0.2) & (z[:, 0] <= 0.4)
    with opened(run) as client:
        client.put("/api/selections/right", json={"rule": RULE})
        about, made = regressed(client, {"named": "right"})
    assert about["method"] == "kernel regression"
    assert "--selection right" in about["command"]
    assert about["count"] == chosen.sum() <= min(about["images"])
    assert max(about["images"]) > 2 * about["count"]
    assert "nearest first" in about["note"]

    lost = z.copy()
    lost[3] = np.nan
    np.savez(run / "latents.npz", mean=lost)
    with opened(run) as client:
        plain, alone = regressed(client, {"indices": np.flatnonzero(chosen).tolist()})
    assert plain["method"] == "reconstruction"
    assert "row 3 is not finite" in plain["note"]
    assert set(plain["images"]) == {about["count"]}
    truth = np.mean([ball_volume(p) for p in z[chosen]], axis=0)
    score = [np.corrcoef(volume.ravel(), truth.ravel())[0, 1] for volume in (made, alone)]
    assert score[0] > score[1] + 0.05, score


@pytest.mark.parametrize(
    "words, expected",
    [
        ("--selection none", "no selection named"),
        ("--selection lost.txt", "lost.txt"),
        ("--selection far.txt", "none of its particles"),
        ("", "--selection"),
    ],
)
def test_a_selection_that_is_not_there_is_refused(
    run, tmp_path, monkeypatch, capsys, words, expected
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "far.txt").write_text("100000\n")
    with pytest.raises(SystemExit) as stop:
        main(["regress", str(run), *words.split(), "-o", "maps"])
    assert stop.value.code == 2
    assert expected in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "maps").exists()

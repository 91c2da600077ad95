"""Volumes, paths, pictures and states of a run, against the formulas it was made by."""

import io
import shlex
from pathlib import Path

import numpy as np
import pytest
from dashboard_run import (
    BOX,
    COUNT,
    DIMENSIONS,
    PIXEL,
    ball_image,
    ball_volume,
    command,
    told,
)
from PIL import Image

from vitreous.analysis.paths import direct_path
from vitreous.analysis.selection_map import map_of_selection
from vitreous.cli.main import main
from vitreous.maps import read_map
from vitreous.particles import read_particles
from vitreous.training.run import Run


@pytest.fixture(scope="module")
def z(run):
    return np.load(run / "latents.npz")["mean"]


@pytest.fixture
def as_map(tmp_path):
    def read(answer):
        assert answer.status_code == 200, answer.text
        (tmp_path / "answer.mrc").write_bytes(answer.content)
        return read_map(tmp_path / "answer.mrc")

    return read


def alike(a, b):
    return np.corrcoef(np.ravel(a), np.ravel(b))[0, 1]


def test_a_volume_is_what_the_run_decodes(client, z, as_map):
    answer = client.get("/api/volume?particle=7")
    found = as_map(answer)
    assert found.voxel_size == PIXEL
    np.testing.assert_allclose(found.data, ball_volume(z[7]), atol=1e-6)
    assert 0 < float(answer.headers["X-Level"]) < found.data.max()
    assert float(answer.headers["X-Sigma"]) == pytest.approx(found.data.std(), rel=1e-5)
    words = command(answer).split()
    assert words[:2] == ["vitreous", "eval-vol"]
    np.testing.assert_allclose([float(w) for w in words[4 : 4 + DIMENSIONS]], z[7], rtol=1e-6)
    text = ",".join(map(str, z[3].tolist()))
    np.testing.assert_allclose(
        as_map(client.get(f"/api/volume?z={text}")).data, ball_volume(z[3]), atol=1e-6
    )
    middle = as_map(client.get("/api/volume?consensus=1")).data
    np.testing.assert_allclose(middle, ball_volume(z.mean(axis=0)), atol=1e-5)
    # Of a cluster: a particle that is in it.
    shown = as_map(client.get("/api/volume?cluster=2")).data
    members = np.arange(COUNT) % 4 == 1
    assert min(np.abs(ball_volume(p) - shown).max() for p in z[members]) < 1e-6


@pytest.mark.parametrize(
    "query, expected",
    [
        ("particle=-1", "particle -1"),
        (f"particle={COUNT}", f"particle {COUNT}"),
        ("particle=x", "particle: "),
        ("z=1,2", "3 numbers"),
        ("z=1,b,3", "no list of numbers"),
        ("z=1,nan,3", "not finite"),
        ("z=1e300,0,0", "too large"),
        ("axes=z1,z2&z=1", "2 axes, but 1 numbers"),
        ("axes=z1,q9&z=1,2", "no column 'q9'"),
        ("axes=z1,cluster&z=1,2", "names, no places"),
        ("cluster=9", "cluster 9"),
        ("", "say which volume"),
    ],
)
def test_a_volume_of_nothing_is_refused(client, query, expected):
    assert expected in told(client.get(f"/api/volume?{query}"))


def test_a_place_of_the_plot_is_decoded_by_its_axes(client, z, as_map):
    def decoded(axes, place, particle=None):
        query = f"axes={axes}&z={','.join(map(str, place))}"
        query += "" if particle is None else f"&particle={particle}"
        answer = client.get(f"/api/volume?{query}")
        as_map(answer)
        return np.array(command(answer).split()[4 : 4 + DIMENSIONS], float)

    np.testing.assert_allclose(decoded("z2,z1", [0.5, -1]), [-1, 0.5, 0], atol=1e-6)
    np.testing.assert_allclose(decoded("z2,z3", [0.5, -1], 8), [z[8, 0], 0.5, -1], rtol=1e-5)
    # A particle's own scores lead back to it, and so they do whoever gives the third component.
    centred = z - z.mean(axis=0)
    axes = np.linalg.svd(centred.astype(np.float64), full_matrices=False)[2]
    axes *= np.sign(axes[np.arange(3), np.abs(axes).argmax(axis=1)])[:, None]
    scores = centred @ axes.T
    np.testing.assert_allclose(decoded("pc1,pc2", scores[5, :2], 5), z[5], atol=1e-4)
    flat = z.mean(axis=0) + scores[5, :2] @ axes[:2]
    np.testing.assert_allclose(decoded("pc1,pc2", scores[5, :2]), flat, atol=1e-4)
    # Of UMAP no formula leads back: the particle that lies there.
    x, y = (
        np.frombuffer(client.get(f"/api/columns/umap{k}").content, "<f4").astype(float)
        for k in (1, 2)
    )
    place = [x[11] + 1e-3 * x.std(), y[11]]
    nearest = np.argmin(((x - place[0]) / x.std()) ** 2 + ((y - place[1]) / y.std()) ** 2)
    np.testing.assert_allclose(decoded("umap1,umap2", place), z[nearest], rtol=1e-5)


def test_the_map_of_a_selection_is_made_of_its_images_where_they_suffice(client, run, z, as_map):
    far, near = ({"range": {"column": "z1", k: v}} for k, v in (("low", 0.8), ("high", -0.8)))
    maps, truths = [], []
    for rule, mask in ((far, z[:, 0] >= 0.8), (near, z[:, 0] <= -0.8)):
        about = client.post("/api/regress", json={"rule": rule}).json()
        assert about["count"] == mask.sum()
        value = np.array(about["fsc"]["value"], float)
        assert len(about["fsc"]["frequency"]) == len(value)
        # Images without noise: halves agree where there is anything to see.
        assert (value[1:4] > 0.9).all()
        assert about["method"] == "kernel regression"
        # Images without noise need little help where the balls differ: not that of half of all.
        assert about["count"] <= min(about["images"])
        assert max(about["images"][1:4]) < COUNT / 2
        assert len(about["images"]) == len(value)
        assert f"{about['count']} images" in about["note"] or "nearest first" in about["note"]
        maps.append(as_map(client.get(f"/api/regress/{about['id']}")).data)
        truths.append(np.mean([ball_volume(p) for p in z[mask]], axis=0))
    for own, other in ((0, 1), (1, 0)):
        assert alike(maps[own], truths[own]) > 0.9
        assert alike(maps[own], truths[own]) > alike(maps[own], truths[other]) + 0.05
    # Every one of many images counts, not only those of a kernel's usual innermost ring.
    table = read_particles(run.parent / "particles.star")
    many = z[:, 0] > -1.0
    found = map_of_selection(Run.open(run), table, many).regression
    assert (found.images >= many.sum()).all()
    assert alike(found.volume, np.mean([ball_volume(p) for p in z[many]], axis=0)) > 0.9
    assert "too few" in told(client.post("/api/regress", json={"rule": {"indices": [1, 2]}}))
    assert "gone" in told(client.get("/api/regress/99"))


def test_trajectories_go_where_they_should(client, run, z, as_map):
    anchors = [3, 50, 9]
    made = client.post(
        "/api/trajectory", json={"kind": "direct", "anchors": anchors, "frames": 9}
    ).json()
    np.testing.assert_allclose(made["z"], direct_path(z[anchors], 5), atol=1e-6)
    distance = np.linalg.norm(np.array(made["z"])[:, None] - z[None], axis=2)
    assert made["particles"] == distance.argmin(axis=1).tolist()
    frame = as_map(client.get(f"/api/trajectory/{made['id']}/4")).data
    np.testing.assert_allclose(frame, ball_volume(z[50]), atol=1e-5)
    assert "--anchors 3 50 9 -n 5" in made["command"]

    # Where the points are dense, so that they hang together.
    ends = [int(np.linalg.norm(z - [x, 0, 0], axis=1).argmin()) for x in (-0.6, 0.6)]
    graph = client.post("/api/trajectory", json={"kind": "graph", "anchors": ends}).json()
    np.testing.assert_allclose(graph["z"], z[graph["particles"]], atol=1e-6)
    assert [graph["particles"][0], graph["particles"][-1]] == ends
    walk = client.post("/api/trajectory", json={"kind": "pc", "component": 1, "frames": 6}).json()
    steps = np.diff(walk["z"], axis=0)
    np.testing.assert_allclose(steps, np.tile(steps[0], (5, 1)), atol=1e-5)
    points = [[0, 0, 0], [1, 0, 0]]
    drawn = client.post("/api/trajectory", json={"kind": "direct", "points": points, "frames": 3})
    assert drawn.json()["z"] == [[0, 0, 0], [0.5, 0, 0], [1, 0, 0]]

    wanted = {"maps": True, "movie": "gif", "cxc": True}
    saved = client.post(f"/api/trajectory/{drawn.json()['id']}/save", json=wanted).json()
    folder = run / "trajectories" / "path_001"
    np.testing.assert_allclose(
        read_map(folder / "vol_002.mrc").data, ball_volume(np.array([0.5, 0, 0])), atol=1e-6
    )
    assert {str(p) for p in folder.iterdir()} == set(saved["paths"])
    with Image.open(folder / "movie.gif") as movie:
        assert movie.n_frames == 4
    np.testing.assert_allclose(np.loadtxt(folder / "z_values.txt"), drawn.json()["z"])


def test_commands_do_what_the_page_did(client, run, as_map, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def repeat(words):
        program, *rest = shlex.split(words)
        assert program == "vitreous"
        main(rest)

    # A latent with negative numbers, as most are.
    particle = int(np.load(run / "latents.npz")["mean"].max(axis=1).argmin())
    answer = client.get(f"/api/volume?particle={particle}")
    repeat(command(answer))
    np.testing.assert_allclose(read_map("vol.mrc").data, as_map(answer).data, atol=1e-5)
    for wanted, file in (
        ({"kind": "direct", "anchors": [3, 50, 9], "frames": 9}, "z-path.txt"),
        ({"kind": "pc", "component": 2, "frames": 6}, "paths/pc2.txt"),
    ):
        made = client.post("/api/trajectory", json=wanted).json()
        repeat(made["command"])
        np.testing.assert_allclose(np.loadtxt(file), made["z"], atol=1e-5)
    rule = {"range": {"column": "z1", "low": -0.5}}
    repeat(command(client.post("/api/select", json={"rule": rule})))
    repeat(command(client.get("/api/montage?indices=3,1")))
    assert (tmp_path / "montage.png").is_file()
    saved = client.post(f"/api/trajectory/{made['id']}/save", json={"maps": True}).json()
    first = read_map(saved["paths"][1]).data
    Path(saved["paths"][1]).unlink()
    repeat(saved["command"])
    np.testing.assert_allclose(read_map(saved["paths"][1]).data, first, atol=1e-5)


@pytest.mark.parametrize(
    "wanted, expected",
    [
        ({"kind": "direct", "anchors": [1]}, "two particles"),
        ({"kind": "graph"}, "two particles"),
        ({"kind": "graph", "anchors": [1, COUNT]}, f"particle {COUNT}"),
        ({"kind": "pc", "component": 9}, "component 9"),
        ({"kind": "direct", "points": [[1, 2], [3, 4]]}, "3 numbers"),
        ({"kind": "direct", "points": [[1, 2], [3]]}, "3 numbers"),
        ({"kind": "direct", "anchors": [1, 2], "frames": 100000}, "frames"),
        ({"kind": "spiral"}, "kind"),
    ],
)
def test_a_path_to_nowhere_is_refused(client, wanted, expected):
    assert expected in told(client.post("/api/trajectory", json=wanted))


def test_a_montage_shows_the_images_and_what_the_run_predicts(client, run, z):
    particles = [0, 5, 130, 200]
    answer = client.get(f"/api/montage?indices={','.join(map(str, particles))}&projections=1")
    with Image.open(io.BytesIO(answer.content)) as picture:
        sheet = np.asarray(picture, np.float32)
    columns, cell = (int(answer.headers[name]) for name in ("X-Columns", "X-Cell"))
    table = read_particles(run.parent / "particles.star")
    side = (cell - 2) // 2
    shown = []
    for number in range(len(particles)):
        y, x = number // columns * (side + 2), number % columns * cell
        tiles = [sheet[y : y + side, x + k * side : x + (k + 1) * side][::-1] for k in range(2)]
        # Back to the pixels of the image, rows upwards.
        shown.append([t.reshape(BOX, side // BOX, BOX, -1).mean(axis=(1, 3)) for t in tiles])
    truth = [ball_image(z[i], table.rotation[i], table.shift[i] / PIXEL) for i in particles]
    for number, (image, projection) in enumerate(shown):
        scores = [alike(projection, other) for other in truth]
        assert np.argmax(scores) == number
        assert min(scores[number], alike(image, truth[number])) > 0.95
    flipped = client.get("/api/montage?indices=1,2&corrected=1")
    assert flipped.status_code == 200
    assert "empty" in told(client.get("/api/montage?indices="))
    assert "too many" in told(client.get("/api/montage?indices=" + "1," * 200))
    poses = client.get("/api/poses")
    with Image.open(io.BytesIO(poses.content)) as picture:
        assert picture.format == "PNG"

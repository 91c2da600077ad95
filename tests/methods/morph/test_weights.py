"""Weight files: the peer's layout out and in, what ours add, and what is refused."""

import json
import pickle
import zipfile
from pathlib import Path

import jax
import numpy as np
import pytest

from vitreous.errors import InputError
from vitreous.geometry.point_groups import point_group
from vitreous.maps import Map
from vitreous.methods.morph.predict import frame_times, push_frames
from vitreous.methods.morph.torch_file import write_torch_file
from vitreous.methods.morph.velocity import new_mlp, new_spline, symmetrise
from vitreous.methods.morph.weights import Flow, read_weights, unit_cube, write_weights
from vitreous.particles.torch_archive import read_torch_archive

MADE_BY_TORCH = Path(__file__).parent / "data"


@pytest.fixture
def cube() -> Map:
    data = np.random.default_rng(0).random((8, 8, 8)).astype(np.float32)
    return Map(data, 1.5, (3.0, -4.0, 5.0))


def peer_arrays(width: int = 6, seed: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    sizes = [3, width, width, 3]
    arrays = {}
    for i in range(3):
        arrays[f"v.n{i}.weight"] = rng.normal(0, 0.35, (sizes[i + 1], sizes[i])).astype(np.float32)
        arrays[f"v.n{i}.bias"] = rng.normal(0, 0.02, sizes[i + 1]).astype(np.float32)
    return arrays


def peer_frames(arrays: dict[str, np.ndarray], density: np.ndarray) -> list[np.ndarray]:
    """The peer's prediction from its description alone: unit cube, Euler, trilinear, float64."""
    n = len(density)
    index = np.argwhere(density > 0)
    x, mass = (index + 0.5) / n, density[tuple(index.T)].astype(np.float64)
    frames = []
    for _ in range(11):
        u = x * n - 0.5
        low = np.floor(u).astype(int)
        f = u - low
        frame = np.zeros((n + 40,) * 3)
        for corner in np.ndindex(2, 2, 2):
            weight = np.prod(np.where(corner, f, 1 - f), axis=1)
            place = np.clip(low + corner + 20, 0, n + 39)
            np.add.at(frame, tuple(place.T), weight * mass)
        frames.append(frame[20:-20, 20:-20, 20:-20])
        h = x
        for i in range(3):
            h = h @ arrays[f"v.n{i}.weight"].astype(np.float64).T + arrays[f"v.n{i}.bias"]
            h = np.where(h > 0, h, 0.01 * h) if i < 2 else h
        x = x + h / 10
    return frames


def test_the_peers_weights_give_the_peers_frames(tmp_path, cube):
    arrays = peer_arrays()
    write_torch_file(tmp_path / "net.pt", arrays)
    flow = read_weights(tmp_path / "net.pt", cube)
    assert (flow.scheme, flow.steps, flow.is_peer) == ("euler", 10, True)
    ours = push_frames(flow, cube, frame_times(11))
    theirs = peer_frames(arrays, cube.data)
    assert np.abs(theirs[-1] - theirs[0]).max() > 0.3
    for mine, yours in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, yours, atol=1e-4 * yours.max())
    np.testing.assert_allclose(ours[0], cube.data, atol=1e-6)


@pytest.mark.parametrize("name", ["net.pt", "net_stream.pt"])
def test_files_that_pytorch_wrote_give_the_frames_that_pytorch_computed(name):
    with np.load(MADE_BY_TORCH / "frames.npz") as made:
        theirs = dict(made)
    frames = theirs.pop("frames")
    state = read_torch_archive(MADE_BY_TORCH / name)
    assert list(state) == list(theirs)
    for key, array in theirs.items():
        np.testing.assert_array_equal(state[key], array)
    start = Map(frames[0], 1.3, (3.0, -4.0, 5.0))
    ours = push_frames(read_weights(MADE_BY_TORCH / name, start), start, frame_times(11))
    assert np.abs(frames[-1] - frames[0]).max() > 0.3
    np.testing.assert_allclose(np.stack(ours), frames, atol=1e-4 * frames.max())


def test_a_truncated_stream_is_refused(tmp_path):
    raw = (MADE_BY_TORCH / "net_stream.pt").read_bytes()
    for length in (20, 200, len(raw) - 5):
        (tmp_path / "cut.pt").write_bytes(raw[:length])
        with pytest.raises(InputError, match="not a readable PyTorch checkpoint"):
            read_torch_archive(tmp_path / "cut.pt")


def test_a_stream_that_would_run_code_is_refused(tmp_path):
    class Trap:
        def __reduce__(self):
            return print, ("run",)

    head = (MADE_BY_TORCH / "net_stream.pt").read_bytes()[:20]
    (tmp_path / "net.pt").write_bytes(
        head + b"".join(pickle.dumps(x, 2) for x in (1001, {}, Trap()))
    )
    with pytest.raises(InputError, match=r"refused: the checkpoint asks for .*print"):
        read_torch_archive(tmp_path / "net.pt")


def test_the_file_is_a_torch_archive(tmp_path):
    arrays = peer_arrays() | {"empty": np.zeros((0, 3), np.float32)}
    write_torch_file(tmp_path / "net.pt", arrays, {"note.json": "{}"})
    again = read_torch_archive(tmp_path / "net.pt")
    assert list(again) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(again[name], array)


def test_torch_itself_reads_the_file(tmp_path):
    torch = pytest.importorskip("torch")
    arrays = peer_arrays()
    write_torch_file(tmp_path / "net.pt", arrays, {"vitreous.json": "{}"})
    again = torch.load(tmp_path / "net.pt", weights_only=True)
    for name, array in arrays.items():
        np.testing.assert_array_equal(again[name].numpy(), array)


def test_flows_of_every_kind_survive_the_file(tmp_path, cube):
    centre, extent = (1.0, 2.0, 3.0), 40.0
    mlp = new_mlp(jax.random.key(0), 4, 7, centre, extent, True)
    symmetric = symmetrise(mlp, point_group("C3"), (5.0, 6.0, 7.0))
    for velocity, name in ((mlp, "C1"), (new_spline(5, centre, extent, 2), "C1"),
                           (symmetric, "C3")):  # fmt: skip
        flow = Flow(velocity, "rk4", 5, name)
        write_weights(tmp_path / "net.pt", flow)
        again = read_weights(tmp_path / "net.pt", cube)
        assert jax.tree.structure(again.velocity) == jax.tree.structure(velocity)
        jax.tree.map(np.testing.assert_array_equal, again.velocity, velocity)
        assert (again.scheme, again.steps, again.symmetry) == ("rk4", 5, name)


def test_a_flow_of_the_peers_settings_is_a_file_of_the_peer(tmp_path, cube):
    centre, extent = unit_cube(cube)
    velocity = new_mlp(jax.random.key(0), 3, 5, centre, extent, like_peer=True)
    write_weights(tmp_path / "net.pt", Flow(velocity, "euler", 10, is_peer=True))
    with zipfile.ZipFile(tmp_path / "net.pt") as archive:
        assert not any("vitreous" in name for name in archive.namelist())
    assert read_weights(tmp_path / "net.pt", cube).is_peer


def spoil(name):
    arrays = peer_arrays()
    if name == "gap":
        del arrays["v.n1.bias"]
    elif name == "misfit":
        arrays["v.n1.weight"] = arrays["v.n1.weight"][:, :4]
    elif name == "nan":
        arrays["v.n0.weight"][0, 0] = np.nan
    elif name == "other":
        arrays = {"encoder.weight": np.zeros((3, 3), np.float32)}
    elif name == "inputs":
        arrays["v.n0.weight"] = np.zeros((6, 5), np.float32)
    return arrays


@pytest.mark.parametrize(
    "name, words",
    [("gap", "no such bias"), ("misfit", "does not fit"), ("nan", "NaN"), ("other", "no flow"),
     ("inputs", "maps 5 numbers")],
)  # fmt: skip
def test_what_is_no_flow_is_refused_by_name(tmp_path, cube, name, words):
    write_torch_file(tmp_path / "net.pt", spoil(name))
    with pytest.raises(InputError, match=words):
        read_weights(tmp_path / "net.pt", cube)


def test_a_missing_or_broken_file_is_an_error(tmp_path, cube):
    with pytest.raises(InputError, match="cannot be read"):
        read_weights(tmp_path / "absent.pt", cube)
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(InputError, match="not a PyTorch checkpoint"):
        read_weights(tmp_path / "text.pt", cube)
    write_torch_file(tmp_path / "n.pt", peer_arrays(), {"vitreous.json": json.dumps({"steps": 3})})
    with pytest.raises(InputError, match="lacks"):
        read_weights(tmp_path / "n.pt", cube)


def test_depth_and_width_are_checked_and_boxes_must_be_cubes(tmp_path, cube):
    write_torch_file(tmp_path / "net.pt", peer_arrays())
    with pytest.raises(InputError, match="not --depth 4"):
        read_weights(tmp_path / "net.pt", cube, depth=4)
    with pytest.raises(InputError, match="not --width 100"):
        read_weights(tmp_path / "net.pt", cube, width=100)
    with pytest.raises(InputError, match="live in a cube"):
        read_weights(tmp_path / "net.pt", Map(np.ones((4, 5, 6), np.float32), 1.0))

"""Pickles: every spelling of plain arrays is read, everything else refused by name."""

import os
import pickle

import numpy as np
import pytest

from vitreous.errors import InputError
from vitreous.particles import (
    load_pickle,
    load_pickles,
    read_ctf_pickle,
    read_index,
    read_latent_pickle,
    read_pose_pickle,
    save_index_pickle,
    save_latent_pickle,
    save_pickles,
    save_pose_pickle,
)

PLAIN = [
    np.arange(6.0).reshape(2, 3),
    np.asfortranarray(np.arange(6).reshape(2, 3)),
    np.arange(24).reshape(2, 3, 4).transpose(1, 2, 0),
    np.array(["a", "bc"]),
    np.array([b"x"]),
    np.float32(1.5),
    np.bool_(True),
    np.zeros((0, 3), np.float16),
    np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")]),
    (np.ones(2), [1, 2.5, None], {"k": "v", 3: b"w"}, True, 1 + 2j),
]


def assert_equal_things(one, two):
    assert type(one) is type(two)
    if isinstance(one, dict):
        assert_equal_things(list(one.items()), list(two.items()))
    elif isinstance(one, tuple | list):
        assert len(one) == len(two)
        for a, b in zip(one, two, strict=True):
            assert_equal_things(a, b)
    elif isinstance(one, np.ndarray | np.generic):
        assert one.dtype == two.dtype
        np.testing.assert_array_equal(one, two)
    else:
        assert one == two


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("thing", PLAIN, ids=lambda thing: type(thing).__name__)
def test_plain_objects_of_every_protocol(tmp_path, thing, protocol):
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(thing, protocol))
    assert_equal_things(load_pickle(path), thing)


class Evil:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("thing", "name"),
    [
        (Evil(os.system, "touch /tmp/pwned"), r"(posix|nt)\.system"),
        (Evil(eval, "1"), "builtins.eval"),
        (Evil(getattr, "", "join"), "builtins.getattr"),
        (np.load, "numpy"),
        (np.random.default_rng, "numpy.random"),
        ([1, {"deep": (Evil(print),)}], "builtins.print"),
        (np.ma.masked_array([1], [True]), "numpy.ma"),
        (set(), "builtins.set"),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_anything_else_is_refused_by_name(tmp_path, thing, name, protocol):
    path = tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps(thing, protocol))
    with pytest.raises(InputError, match=f"evil.pkl: refused: the pickle asks for .*({name})"):
        load_pickle(path)


def test_arrays_of_objects_are_refused(tmp_path):
    path = tmp_path / "objects.pkl"
    path.write_bytes(pickle.dumps(np.array([[1], None], object)))
    with pytest.raises(InputError, match=r"objects\.pkl"):
        load_pickle(path)


@pytest.mark.parametrize(
    "raw", [b"", b"version https://git-lfs.github.com/spec/v1\n", b"\x80\x04K"]
)
def test_files_that_are_no_pickles(tmp_path, raw):
    path = tmp_path / "x.pkl"
    path.write_bytes(raw)
    with pytest.raises(InputError, match=r"x\.pkl"):
        load_pickle(path)


def test_two_pickles_in_one_file(tmp_path):
    mean, log_variance = np.ones((4, 2), np.float32), np.zeros((4, 2), np.float32)
    path = tmp_path / "z.1.pkl"
    save_latent_pickle(path, mean, log_variance)
    with path.open("rb") as handle:
        np.testing.assert_array_equal(pickle.load(handle), mean)
        np.testing.assert_array_equal(pickle.load(handle), log_variance)
    np.testing.assert_array_equal(read_latent_pickle(path)[1], log_variance)
    save_latent_pickle(path, mean)
    assert read_latent_pickle(path)[1] is None


def test_the_peers_files(shared_data):
    folder = shared_data / "interop"
    for path in sorted(folder.glob("*.pkl")):
        if path.name != "het_weights.pkl":
            assert len(load_pickles(path)) >= 1
    np.testing.assert_array_equal(read_index(folder / "ind4.pkl"), [0, 1, 3, 4])
    assert read_latent_pickle(folder / "zvals_het-8_4k.pkl")[0].shape == (4549, 8)
    rotation, translation = read_pose_pickle(folder / "hand_rot.pkl")
    assert rotation.shape == (100, 3, 3)
    assert not translation.any()
    ctf, box, pixel_size = read_ctf_pickle(folder / "test_ctf.pkl")
    assert (box == 30).all()
    assert (pixel_size == 1).all()
    assert (np.asarray(ctf.phase_shift) == 90).all()


def test_pose_pickle_is_the_peers_layout(tmp_path):
    rotation = np.broadcast_to(np.eye(3, dtype=np.float32), (2, 3, 3))
    save_pose_pickle(tmp_path / "p.pkl", rotation, np.array([[10.0, -20.0], [0, 0]]), 100.0)
    with (tmp_path / "p.pkl").open("rb") as handle:
        matrices, translations = pickle.load(handle)
    np.testing.assert_array_equal(matrices, rotation)
    np.testing.assert_allclose(translations, [[-0.1, 0.2], [0, 0]], rtol=1e-6)
    np.testing.assert_allclose(
        read_pose_pickle(tmp_path / "p.pkl")[1], [[0.1, -0.2], [0, 0]], rtol=1e-6
    )


EYE = np.broadcast_to(np.eye(3), (2, 3, 3)).copy()
FLIPPED = EYE * [[[1], [1], [-1]]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ((EYE, np.full((2, 2), 5.0)), "pass --pose-unit pixel"),
        ((EYE, np.zeros((3, 2))), "2 rotations, 3 translations"),
        ((EYE, np.zeros((2, 3))), "translations have shape 2×3; expected n×2"),
        (np.zeros((2, 9)), "rotations have shape 2×9; expected n×3×3"),
        (FLIPPED, "row 1: not a rotation matrix"),
        (EYE * np.nan, "row 1: rotations hold NaN"),
        ({"rot": EYE}, "holds no array of rotations"),
    ],
)
def test_poses_that_cannot_be(tmp_path, content, message):
    save_pickles(tmp_path / "p.pkl", content)
    with pytest.raises(InputError, match=message):
        read_pose_pickle(tmp_path / "p.pkl")


def test_poses_in_pixels_are_read_when_said_so(tmp_path):
    save_pickles(tmp_path / "p.pkl", (EYE, np.full((2, 2), 5.0)))
    assert (read_pose_pickle(tmp_path / "p.pkl", "pixel")[1] == -5).all()


def test_index_files(tmp_path):
    save_index_pickle(tmp_path / "i.pkl", np.array([3, 1]))
    np.save(tmp_path / "i.npy", [False, True, False, True])
    (tmp_path / "i.txt").write_text("3\n1\n")
    assert read_index(tmp_path / "i.pkl").tolist() == [3, 1]
    assert read_index(tmp_path / "i.npy").tolist() == [1, 3]
    assert read_index(tmp_path / "i.txt").tolist() == [3, 1]
    for bad in ([1.5], [[1]], [-1], "text", []):
        save_pickles(tmp_path / "bad.pkl", np.array(bad) if isinstance(bad, list) else bad)
        with pytest.raises(InputError, match=r"bad\.pkl"):
            read_index(tmp_path / "bad.pkl")

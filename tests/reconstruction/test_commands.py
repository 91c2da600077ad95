"""The commands as a user types them, on a small set."""

import json

import jax
import numpy as np
import pytest

from vitreous.cli.main import main
from vitreous.geometry.rotations import random_rotations
from vitreous.particles import read_map, write_map, write_stack
from vitreous.reconstruction.curves import read_curves

from .blobs import images, table, volume

BOX, PIXEL, COUNT = 16, 3.0, 60


@pytest.fixture(scope="module")
def star(tmp_path_factory):
    folder = tmp_path_factory.mktemp("particles")
    rotation = np.asarray(random_rotations(jax.random.key(0), COUNT))
    shift = np.random.default_rng(0).uniform(-1, 1, (COUNT, 2))
    write_stack(folder / "p.mrcs", images(rotation, shift, BOX), PIXEL)
    particles = table(rotation, shift * PIXEL, BOX, PIXEL, stacks=(str(folder / "p.mrcs"),))
    particles.to_star(folder / "p.star")
    return folder / "p.star"


def run(*words) -> int:
    """Run a command line; return its exit status."""
    try:
        main([str(word) for word in words])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_backproject_writes_the_folder_users_know(star, tmp_path, capsys):
    assert run("backproject_voxel", star, "-o", tmp_path / "out", "--output-sumcount") == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [
        "backproject.mrc",
        "backproject.sums.npz",
        "fsc-plot.png",
        "fsc-vals.txt",
        "half_map_a.mrc",
        "half_map_b.mrc",
    ]
    made = read_map(tmp_path / "out" / "backproject.mrc")
    assert made.voxel_size == PIXEL
    assert np.corrcoef(made.data.ravel(), volume(BOX).ravel())[0, 1] > 0.97
    halves = [read_map(tmp_path / "out" / f"half_map_{letter}.mrc").data for letter in "ab"]
    assert np.corrcoef(halves[0].ravel(), halves[1].ravel())[0, 1] > 0.9
    frequency, curves = read_curves(tmp_path / "out" / "fsc-vals.txt")
    assert list(curves) == ["NoMask", "Spherical", "Loose", "Tight", "Corrected"]
    assert frequency[1] == pytest.approx(1 / BOX)
    sums = np.load(tmp_path / "out" / "backproject.sums.npz")
    assert sums["sums"].shape == sums["counts"].shape == (2, BOX, BOX, BOX // 2 + 1)
    assert f"{COUNT} images" in capsys.readouterr().out


def test_the_seeds_form_writes_one_map_and_flags_of_sign_mean_the_particles(star, tmp_path):
    assert run("backproject-voxel", star, "--invert-data", "-o", tmp_path / "white.mrc") == 0
    assert run("backproject-voxel", star, "--uninvert-data", "-o", tmp_path / "dark.mrc") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dark.mrc", "white.mrc"]
    white, dark = (read_map(tmp_path / f"{name}.mrc").data for name in ("white", "dark"))
    assert np.corrcoef(white.ravel(), volume(BOX).ravel())[0, 1] > 0.97
    np.testing.assert_allclose(dark, -white, atol=1e-5)
    flags = ("--first", 20, "--reg-weight", 0.5, "--no-half-maps", "--no-fsc-vals", "-b", 7)
    assert run("backproject-voxel", star, *flags, "-o", tmp_path / "few") == 0
    assert [path.name for path in (tmp_path / "few").iterdir()] == ["backproject.mrc"]


def test_fsc_prints_writes_and_draws(tmp_path, capsys):
    noise = np.random.default_rng(0).normal(size=(2, BOX, BOX, BOX)).astype(np.float32)
    paths = [tmp_path / f"{letter}.mrc" for letter in "ab"]
    for path, each in zip(paths, noise, strict=True):
        write_map(path, volume(BOX) + 0.002 * each, PIXEL)
    text, picture, mask = (tmp_path / name for name in ("fsc.txt", "fsc.png", "mask.mrc"))
    assert run("fsc", *paths, "-o", text, "-p", picture) == 0
    assert "0.143 at" in capsys.readouterr().out
    assert text.read_text().splitlines()[0] == "pixres fsc"
    assert picture.stat().st_size > 5000
    assert run("gen-mask", paths[0], mask, "--dilate", 4, "--dist", 6, "-p", picture) == 0
    assert 0.01 < read_map(mask).data.mean() < 0.9
    assert run("fsc", *paths, "--mask", mask, "--corrected", 0.3) == 0
    assert run("fsc", *paths, "--ref-volume", paths[0], "-o", text) == 0
    assert "NoMask Spherical Loose Tight Corrected" in text.read_text()


def test_check_exits_with_0_or_1_and_prints_json(star, tmp_path, capsys):
    assert run("check", star, "--no-ctf", "-o", tmp_path) == 0
    assert "nothing to mend" in capsys.readouterr().out
    assert (tmp_path / "check.png").exists()
    assert run("check", star, "--uninvert-data", "--no-ctf", "-o", tmp_path, "--json") == 1
    said = json.loads(capsys.readouterr().out)
    assert [finding["check"] for finding in said["findings"]] == ["contrast"]


def test_bad_input_is_said_in_one_line_with_status_2(star, tmp_path, capsys):
    write_map(tmp_path / "small.mrc", np.ones((8, 8, 8), np.float32), PIXEL)
    write_map(tmp_path / "big.mrc", np.ones((9, 9, 9), np.float32), PIXEL)
    write_map(tmp_path / "coarse.mrc", np.ones((8, 8, 8), np.float32), 2 * PIXEL)
    (tmp_path / "file").write_text("")
    small, big, coarse = (tmp_path / f"{name}.mrc" for name in ("small", "big", "coarse"))
    for words, part in [
        (("check", tmp_path / "none.star"), "no such file"),
        (("fsc", small), "two maps"),
        (("fsc", small, big), "cubes of one box"),
        (("fsc", small, coarse), "--Apix"),
        (("fsc", small, small, "--corrected", 3), "--mask"),
        (("gen-mask", small, tmp_path / "m.mrc", "--threshold", 5), "--threshold"),
        (("backproject-voxel", star, "-o", tmp_path / "file"), "is a file"),
        (("backproject-voxel", star, "--tilt", "-o", tmp_path / "o"), "leave out --tilt"),
        (
            ("backproject-voxel", star, "--invert-data", "--uninvert-data", "-o", tmp_path / "o"),
            "dark or white; keep one",
        ),
        (
            ("backproject-voxel", star.with_suffix(".mrcs"), "-o", tmp_path / "o"),
            "--poses",
        ),
    ]:
        assert run(*words) == 2, words
        said = capsys.readouterr().err.strip().splitlines()
        assert len(said) == 1, said
        assert part in said[0]
    assert not (tmp_path / "o").exists()


def test_check_names_no_picture_it_did_not_draw(tmp_path, capsys):
    folder = tmp_path / "check"
    folder.mkdir()
    (folder / "check.png").write_bytes(b"of an earlier check")
    star = tmp_path / "bad.star"
    star.write_text("data_particles\n\nloop_\n_rlnImageName #1\n1@none.mrcs\n")
    assert run("check", star, "-o", folder) == 1
    assert "picture:" not in capsys.readouterr().out
    assert not (folder / "check.png").exists()
    assert (folder / "check.json").is_file()

"""Commands that write images anew, against the peer's stored image and closed forms."""

import mrcfile
import numpy as np
import pytest

from vitreous.cli.main import main
from vitreous.imaging.ctf import CTFParameters
from vitreous.mrc import read_header
from vitreous.particles import (
    ImageSource,
    load_pickle,
    read_map,
    read_particles,
    save_ctf_pickle,
    save_pickles,
    write_map,
    write_stack,
)

RNG = np.random.default_rng(0)


def run(*words):
    try:
        main([str(word) for word in words])
    except SystemExit as end:
        return end.code or 0
    return 0


def images_of(path):
    table = read_particles(path)
    return ImageSource(table).read(np.arange(len(table)))


def test_a_shifted_image_is_the_peers(shared_data, tmp_path):
    folder = shared_data / "interop"
    save_pickles(tmp_path / "t.pkl", np.tile([[5.0, 10.0]], (100, 1)))
    out, png = tmp_path / "moved.mrcs", tmp_path / "moved.png"
    words = ["translate_mrcs", folder / "hand.mrcs", tmp_path / "t.pkl", "-o", out]
    assert run(*words, "--out-png", png) == 0
    np.testing.assert_allclose(images_of(out)[0], np.load(folder / "im_shifted.npy"), atol=1e-4)
    assert png.read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("box", [8, 9])
def test_whole_pixels_roll_and_fractions_add_up(tmp_path, box):
    images = RNG.normal(size=(3, box, box)).astype(np.float32)
    write_stack(tmp_path / "a.mrcs", images, 1.5)
    shifts = [(1, 0), (0, -2), (3, 1)]
    np.save(tmp_path / "t.npy", np.array(shifts))
    assert run("translate", tmp_path / "a.mrcs", tmp_path / "t.npy", "-o", tmp_path / "b.mrcs") == 0
    expected = [np.roll(i, (y, x), (0, 1)) for i, (x, y) in zip(images, shifts, strict=True)]
    np.testing.assert_allclose(images_of(tmp_path / "b.mrcs"), expected, atol=1e-5)
    assert run("translate", tmp_path / "a.mrcs", tmp_path / "t.npy", "-o", tmp_path / "a.mrcs") == 2


def test_phases_are_flipped_image_by_image(tmp_path):
    box, size = 32, 2.0
    images = RNG.normal(size=(4, box, box)).astype(np.float32)
    write_stack(tmp_path / "a.mrcs", images, size)
    defocus = np.array([8e3, 12e3, 16e3, 20e3], np.float32)
    one = np.ones(4, np.float32)
    ctf = CTFParameters(
        defocus, defocus, 0 * one, 300 * one, 2.7 * one, 0.1 * one, 0 * one, 0 * one, one
    )
    save_ctf_pickle(tmp_path / "ctf.pkl", ctf, box, size)
    words = ["phase_flip", tmp_path / "a.mrcs", tmp_path / "ctf.pkl", "-o", tmp_path / "b.mrcs"]
    assert run(*words) == 0
    k = np.fft.fftfreq(box, size)
    square = k[:, None] ** 2 + k[None] ** 2
    wavelength = 0.0196875
    for before, after, u in zip(images, images_of(tmp_path / "b.mrcs"), defocus, strict=True):
        chi = np.pi * wavelength * u * square - 0.5 * np.pi * 2.7e7 * wavelength**3 * square**2
        value = np.sqrt(1 - 0.01) * np.sin(chi) + 0.1 * np.cos(chi)
        ratio = (np.fft.fft2(after) / np.fft.fft2(before)).real
        # Near a zero the rounded wavelength decides the sign.
        clear = np.abs(value) > 1e-2
        np.testing.assert_allclose(ratio[clear], np.sign(value)[clear], atol=2e-2)
    # Twice is not at all.
    words = ["phase-flip", tmp_path / "b.mrcs", tmp_path / "ctf.pkl", "-o", tmp_path / "c.mrcs"]
    assert run(*words) == 0
    np.testing.assert_allclose(images_of(tmp_path / "c.mrcs"), images, atol=1e-4)
    assert run("phase-flip", tmp_path / "a.mrcs", "-o", tmp_path / "d.mrcs") == 2


@pytest.mark.parametrize("box", [6, 7])
def test_hand_and_contrast_of_maps(tmp_path, box):
    volume = RNG.normal(size=(box, box, box)).astype(np.float32)
    write_map(tmp_path / "m.mrc", volume, 1.5, (1.0, 2.0, 3.0))
    assert run("flip_hand", tmp_path / "m.mrc") == 0
    flipped = read_map(tmp_path / "m_flipped.mrc")
    for z in range(box):
        # About the centre of the box, `n // 2`; even boxes wrap their outermost plane.
        mirrored = (2 * (box // 2) - z) % box
        np.testing.assert_array_equal(flipped.data[mirrored], volume[z])
    assert flipped.origin == (1.0, 2.0, 3.0)
    assert run("invert_contrast", tmp_path / "m.mrc", "-o", tmp_path / "i.mrc") == 0
    np.testing.assert_array_equal(read_map(tmp_path / "i.mrc").data, -volume)
    assert run("invert-contrast", tmp_path / "m.mrc", "-o", tmp_path / "m.mrc") == 2


def test_contrast_of_stacks(tmp_path):
    images = RNG.normal(size=(5, 8, 8)).astype(np.float32)
    write_stack(tmp_path / "a.mrcs", images, 1.5)
    assert run("invert-contrast", tmp_path / "a.mrcs", "-o", tmp_path / "b.mrcs") == 0
    np.testing.assert_array_equal(images_of(tmp_path / "b.mrcs"), -images)
    assert read_header(tmp_path / "b.mrcs").voxel_size[0] == 1.5


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_pixel_size_changes_nothing_else(tmp_path, order):
    data = RNG.integers(-5, 5, (4, 6, 6)).astype(order + "i2")
    with mrcfile.new(tmp_path / "a.mrc", data=data) as file:
        file.voxel_size = 1.0
    raw = (tmp_path / "a.mrc").read_bytes()
    assert run("add_psize", tmp_path / "a.mrc", "--Apix", 1.31, "-o", tmp_path / "b.mrc") == 0
    assert (tmp_path / "b.mrc").read_bytes()[1024:] == raw[1024:]
    header = read_header(tmp_path / "b.mrc")
    assert header.voxel_size == (1.31, 1.31, 1.31)
    assert header.dtype == read_header(tmp_path / "a.mrc").dtype
    assert run("add-psize", tmp_path / "a.mrc", "--Apix", 0) == 2


def test_view_says_what_files_hold_and_draws(shared_data, tmp_path, capsys):
    folder = shared_data / "interop"
    for name, words in (
        ("hand.mrcs", ["stack of images", "100 × 64 × 64"]),
        ("toymodel_small_nocenter.mrc", ["volume", "30 × 30 × 30"]),
        ("relion31.6opticsgroups.star", ["data_optics", "139 rows", "_rlnDefocusU"]),
        ("cryosparc_P12_J24_001_particles.cs", ["2,019", "alignments3D/pose", "(3 each)"]),
        ("pose.star.pkl", ["tuple of 2", "5×3×3"]),
    ):
        assert run("view", folder / name) == 0
        text = capsys.readouterr().out
        for word in words:
            assert word in text, (name, word)
    for k, (name, words) in enumerate(
        (
            ("hand.mrcs", ["--ind", 3, 9, "--invert"]),
            ("toymodel_small_nocenter.mrc", []),
            ("relion31.star", []),
        )
    ):
        png = tmp_path / f"{k}.png"
        assert run("view", folder / name, *words, "-o", png) == 0
        assert png.read_bytes()[:4] == b"\x89PNG"
    assert run("view", folder / "hand.mrcs", "--ind", 100, "-o", tmp_path / "x.png") == 2
    assert run("view", tmp_path / "none.mrc") == 2
    assert load_pickle(folder / "pose.star.pkl")[0].shape == (5, 3, 3)


def test_view_knows_arrays_and_refuses_what_is_none(tmp_path, capsys):
    np.save(tmp_path / "z.npy", np.arange(6.0).reshape(3, 2))
    np.savez(tmp_path / "z.npz", mean=np.arange(4), name=np.array("word"))
    for name, words in (("z.npy", ["3×2", "0 to 5"]), ("z.npz", ["mean", "0 to 3", "name"])):
        assert run("view", tmp_path / name) == 0
        text = capsys.readouterr().out
        for word in words:
            assert word in text, (name, word)
    np.savez(tmp_path / "objects.npz", a=np.array([{}], object))
    (tmp_path / "text.npz").write_bytes(b"hello")
    (tmp_path / "empty.npy").write_bytes(b"")
    for name in ("objects.npz", "text.npz", "empty.npy"):
        assert run("view", tmp_path / name) == 2
        assert name in capsys.readouterr().err

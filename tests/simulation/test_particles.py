"""Simulated sets: the same bit for bit, as noisy as asked, and mapped back by their own poses."""

from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from vitreous.errors import InputError
from vitreous.geometry.fourier import half_plane, image_from_half_plane
from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.geometry.rotations import euler_to_matrix
from vitreous.imaging.ctf import CTFParameters
from vitreous.metrics.truth import read_truth
from vitreous.particles import ImageSource, ParticleTable, read_map, read_particles
from vitreous.reconstruction.reconstruct import reconstruct
from vitreous.simulation import (
    HingeMotion,
    MapStates,
    Optics,
    ParticleOptions,
    hinge_phantom,
    simulate_particles,
)

BOX, PIXEL = 24, 9.0
OPTICS = Optics(defocus=(20000.0, 40000.0), bfactor=50.0)
OPTIONS = ParticleOptions(count=40, snr=0.2, max_shift=20.0, optics=OPTICS, seed=3, batch=16)


@pytest.fixture(scope="module")
def specimen() -> MapStates:
    """Two states of the hinge as maps."""
    motion = HingeMotion(hinge_phantom(), BOX, PIXEL, states=2)
    return MapStates.of(motion.volumes(), PIXEL)


def images_of(table: ParticleTable) -> np.ndarray:
    return ImageSource(table).read(np.arange(len(table)))


def test_the_files_say_what_was_simulated(specimen: MapStates, tmp_path: Path) -> None:
    table = simulate_particles(specimen, tmp_path, OPTIONS)
    read = read_particles(tmp_path / "particles.star")
    assert read.box.tolist() == [BOX] * 40
    np.testing.assert_allclose(read.pixel_size, PIXEL)
    np.testing.assert_allclose(read.rotation, table.rotation, atol=1e-6)
    np.testing.assert_allclose(read.shift, table.shift, atol=1e-5)
    assert read.ctf is not None
    assert table.ctf is not None
    for name, mine, theirs in zip(CTFParameters._fields, table.ctf, read.ctf, strict=True):
        np.testing.assert_allclose(theirs, mine, rtol=1e-6, err_msg=name)
    assert sorted(read.half_set.tolist()) == [0] * 20 + [1] * 20
    truth = read_truth(tmp_path / "truth.npz")
    np.testing.assert_array_equal(truth.rotation, table.rotation)
    np.testing.assert_array_equal(truth.shift, table.shift)
    np.testing.assert_array_equal(truth.volumes, specimen.volumes())
    assert truth.coordinate is None
    assert truth.pixel_size == PIXEL
    assert np.bincount(truth.labels).tolist() == [20, 20]
    assert np.abs(table.shift).max() <= 20
    second = read_map(tmp_path / "volumes" / "vol_001.mrc")
    np.testing.assert_array_equal(second.data, specimen.volumes()[1])
    assert second.voxel_size == pytest.approx(PIXEL)


def test_seeds_fix_every_bit(specimen: MapStates, tmp_path: Path) -> None:
    """One seed gives one set, files and all; another seed another, particle by particle."""
    for name in ("a", "b"):
        simulate_particles(specimen, tmp_path / name, OPTIONS)
    for file in ("particles.mrcs", "particles.star", "truth.npz"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    other = simulate_particles(specimen, tmp_path / "c", replace(OPTIONS, seed=4))
    first = read_particles(tmp_path / "a" / "particles.star")
    assert not np.isclose(images_of(first), images_of(other)).all(axis=(1, 2)).any()


def test_batches_do_not_matter(specimen: MapStates, tmp_path: Path) -> None:
    """Noise and truth are exactly those of another batch size; sums may round differently."""
    options = replace(OPTIONS, snr=None)
    clean = [
        images_of(simulate_particles(specimen, tmp_path / f"c{b}", replace(options, batch=b)))
        for b in (16, 13)
    ]
    np.testing.assert_allclose(clean[0], clean[1], atol=1e-5 * np.abs(clean[0]).max())
    tables = [
        simulate_particles(specimen, tmp_path / f"n{b}", replace(OPTIONS, batch=b))
        for b in (16, 13)
    ]
    np.testing.assert_array_equal(tables[0].rotation, tables[1].rotation)
    noisy = [images_of(table) for table in tables]
    np.testing.assert_allclose(noisy[0], noisy[1], atol=1e-5 * np.abs(noisy[0]).max())


def test_the_noise_is_white_and_as_strong_as_asked(specimen: MapStates, tmp_path: Path) -> None:
    clean = images_of(simulate_particles(specimen, tmp_path / "clean", replace(OPTIONS, snr=None)))
    noisy = images_of(simulate_particles(specimen, tmp_path / "noisy", OPTIONS))
    noise = noisy - clean
    with np.load(tmp_path / "noisy" / "truth.npz") as truth:
        deviation = float(truth["noise"])
    assert deviation == pytest.approx(clean.std() / np.sqrt(0.2), rel=1e-4)
    # 40 · 24² samples: a variance is known to √(2/23040) = 0.9 %, a correlation to 0.7 %.
    assert noise.std() == pytest.approx(deviation, rel=0.02)
    mirrored = noise[:, ::-1, ::-1]
    assert abs(np.corrcoef(noise[:, 1:, 1:].ravel(), mirrored[:, :-1, :-1].ravel())[0, 1]) < 0.03
    in_mask = replace(OPTIONS, snr_definition="mask", mask_radius=50.0)
    simulate_particles(specimen, tmp_path / "mask", in_mask)
    with np.load(tmp_path / "mask" / "truth.npz") as truth:
        assert float(truth["noise"]) > deviation


def test_a_straight_view_is_the_sum_over_z(specimen: MapStates, tmp_path: Path) -> None:
    """Without CTF the image is Σ_z of the map, moved by the shift; dark is its negative."""
    plain = ParticleOptions(count=2, snr=None, optics=None)
    rotations = np.broadcast_to(np.eye(3), (2, 3, 3))
    shifts = np.array([[0.0, 0.0], [2 * PIXEL, -3 * PIXEL]])
    table = simulate_particles(
        specimen, tmp_path / "plain", plain, rotations=rotations, shifts=shifts
    )
    with np.load(tmp_path / "plain" / "truth.npz") as truth:
        expected = specimen.volumes()[truth["labels"]].sum(axis=1)
    expected[1] = np.roll(expected[1], (-3, 2), axis=(0, 1))
    images = images_of(table)
    pixels = FourierPixels(BOX, (BOX - 1) // 2, min_shell=0)
    band = pixels.scatter(pixels.gather(half_plane(jnp.asarray(expected))))
    expected = np.asarray(image_from_half_plane(band, BOX))
    assert np.linalg.norm(images - expected) < 0.01 * np.linalg.norm(expected)
    dark = simulate_particles(
        specimen,
        tmp_path / "dark",
        replace(plain, contrast="dark"),
        rotations=rotations,
        shifts=shifts,
    )
    np.testing.assert_array_equal(images_of(dark), -images)


def test_backprojection_gives_the_molecule(tmp_path: Path) -> None:
    """A still hinge, noisy and shifted: the map comes back, with its values, only in one hand."""
    motion = HingeMotion(hinge_phantom(), BOX, PIXEL, low=10.0, high=10.0, states=1)
    options = replace(OPTIONS, count=300, snr=1.0)
    table = simulate_particles(motion, tmp_path, options)
    table = read_particles(tmp_path / "particles.star")
    found = reconstruct(table, ImageSource(table)).volume
    truth = motion.volumes()[0]

    def correlation(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])

    right = correlation(found, truth)
    assert right > 0.9
    for axis in (0, 1, 2, (0, 1, 2)):
        assert correlation(np.flip(found, axis), truth) < right - 0.3
    # The Wiener filter damps what noise hides, so a little of the scale is lost, never gained.
    slope = np.sum(found * truth) / np.sum(truth * truth)
    assert 0.8 < slope < 1.05


def test_hinge_angles_are_even_and_labelled_by_their_state(tmp_path: Path) -> None:
    motion = HingeMotion(hinge_phantom(), BOX, PIXEL, low=-10.0, high=50.0, states=3)
    simulate_particles(motion, tmp_path, replace(OPTIONS, count=30, optics=None))
    truth = read_truth(tmp_path / "truth.npz")
    assert truth.period is None
    np.testing.assert_array_equal(truth.labels, np.floor((truth.coordinate + 10) / 20))
    assert truth.volumes.shape == (3, BOX, BOX, BOX)
    np.testing.assert_allclose(motion.angles, [0, 20, 40])


def test_images_of_the_hinge_agree_with_slices_of_its_map(tmp_path: Path) -> None:
    """Atoms projected one by one, and the map's transform sliced: two ways to one image."""
    motion = HingeMotion(hinge_phantom(), 40, 6.0, low=20.0, high=20.0, states=1)
    plain = ParticleOptions(count=6, snr=None, optics=None, batch=6)
    atoms = images_of(simulate_particles(motion, tmp_path / "atoms", plain))
    rotations = read_particles(tmp_path / "atoms" / "particles.star").rotation
    sliced = MapStates.of(motion.volumes(), 6.0, padding=1.25)
    slices = images_of(simulate_particles(sliced, tmp_path / "map", plain, rotations=rotations))
    # 1 % of aliasing at Nyquist, and the corners that a map of the same box cannot hold.
    assert np.linalg.norm(slices - atoms) / np.linalg.norm(atoms) < 0.02


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"count": 0}, "-n 0"),
        ({"snr": 0.0}, "must be positive"),
        ({"max_shift": 500.0}, "half the box, 108"),
        ({"mask_radius": -1.0}, "mask-radius"),
        ({"optics": Optics(defocus=(2.0, 1.0))}, "lower value first"),
        ({"optics": Optics(voltage=300e3)}, "kV"),
        ({"optics": Optics(amplitude_contrast=7.0)}, "0 to 1"),
        ({"dose": -3.0, "snr": None}, "--dose -3"),
        ({"dose": 20.0, "snr": None, "optics": None}, "leave out --no-ctf"),
        ({"ice": -1.0}, "--ice -1"),
    ],
)
def test_senseless_options_are_refused(
    specimen: MapStates, tmp_path: Path, changes: dict, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        simulate_particles(specimen, tmp_path / "out", replace(OPTIONS, **changes))
    assert not (tmp_path / "out").exists()


def test_what_is_given_must_fit(specimen: MapStates, tmp_path: Path) -> None:
    three = np.asarray(euler_to_matrix(jnp.zeros((3, 3))))
    with pytest.raises(InputError, match="3 poses are given for 40"):
        simulate_particles(specimen, tmp_path / "out", OPTIONS, rotations=three)
    simulate_particles(specimen, tmp_path / "out", replace(OPTIONS, count=3), rotations=three)
    with pytest.raises(InputError, match="holds a particle set"):
        simulate_particles(specimen, tmp_path / "out", OPTIONS)
    again = simulate_particles(specimen, tmp_path / "out", OPTIONS, overwrite=True)
    assert len(again) == 40

"""Every detector against the fault it is for, planted in a small simulated set."""

import json
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vitreous.errors import InputError
from vitreous.geometry.fourier import half_plane, image_from_half_plane
from vitreous.geometry.rotations import random_rotations
from vitreous.imaging.ctf import CTFParameters, evaluate_ctf
from vitreous.particles import ParticleTable, write_map, write_stack
from vitreous.reconstruction.checks import Report, check_particles
from vitreous.reconstruction.checks.contrast import decide_contrast

from .blobs import images, table, volume

BOX, PIXEL, COUNT = 24, 4.0, 400


@dataclass
class Planted:
    """A particle set whose faults are chosen; `images` hold noise, `clean` none."""

    folder: Path
    table: ParticleTable
    clean: np.ndarray
    noise: np.ndarray
    transfer: np.ndarray

    def filtered(self, factor: np.ndarray, stack: np.ndarray | None = None) -> np.ndarray:
        half = half_plane(jnp.asarray(self.images if stack is None else stack))
        return np.array(image_from_half_plane(half * jnp.asarray(factor, jnp.complex64), BOX))

    @property
    def images(self) -> np.ndarray:
        return self.filtered(self.transfer, self.clean) + self.noise

    def check(self, stack=None, header: float = PIXEL, options=None, **columns) -> Report:
        path = self.folder / "p.star"
        write_stack(self.folder / "p.mrcs", self.images if stack is None else stack, header)
        self.table.replace(**columns).to_star(path)
        return check_particles(path, **(options or {}))


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> Planted:
    folder = tmp_path_factory.mktemp("planted")
    rng = np.random.default_rng(0)
    rotation = np.asarray(random_rotations(jax.random.key(0), COUNT))
    shift = rng.uniform(-2, 2, (COUNT, 2))
    defocus = rng.uniform(9000, 16000, COUNT)
    constant = {"voltage": 300, "spherical_aberration": 2.7, "amplitude_contrast": 0.1}
    constant |= {"defocus_angle": 0, "phase_shift": 0, "bfactor": 0, "scale": 1}
    fields = {name: np.full(COUNT, value) for name, value in constant.items()}
    ctf = CTFParameters(
        **{
            name: np.float32(values)
            for name, values in (fields | {"defocus_u": defocus, "defocus_v": defocus}).items()
        }
    )
    k = np.stack(np.meshgrid(np.arange(BOX // 2 + 1), np.fft.fftfreq(BOX, 1 / BOX)), -1)
    frequency = np.broadcast_to(k.reshape(1, -1, 2) / (BOX * PIXEL), (COUNT, k[..., 0].size, 2))
    transfer = np.asarray(evaluate_ctf(jnp.asarray(frequency, jnp.float32), ctf))
    clean = images(rotation, shift, BOX)
    noise = rng.normal(size=clean.shape).astype(np.float32) * 0.35 * clean.std()
    particles = table(
        rotation, shift * PIXEL, BOX, PIXEL, ctf=ctf, stacks=(str(folder / "p.mrcs"),)
    )
    return Planted(folder, particles, clean, noise, transfer.reshape(COUNT, BOX, -1))


def only(report: Report) -> str:
    """The one finding, as a line."""
    assert len(report.findings) == 1, [str(finding) for finding in report]
    return str(report.findings[0])


def test_a_clean_set_passes_and_is_drawn(planted, tmp_path):
    report = planted.check(options={"folder": tmp_path})
    assert report.is_fine, [str(finding) for finding in report]
    assert report.numbers["contrast"] == "white"
    assert report.numbers["carried_ctf"] == "ctf"
    assert report.numbers["hand"] == "undetermined"
    assert report.numbers["pose_signal_sigma"] > 12
    assert (tmp_path / "check.png").stat().st_size > 20_000
    saved = json.loads((tmp_path / "check.json").read_text())
    assert saved["is_fine"]
    assert saved["numbers"]["particles"] == COUNT
    assert len(saved["numbers"]["fsc"]) == BOX // 2


def test_dark_particles_are_told_with_and_without_a_ctf(planted):
    assert "--uninvert-data" in only(planted.check(-planted.images))
    assert planted.check(-planted.images, options={"expect_dark": True}).is_fine
    assert "leave out --uninvert" in only(planted.check(options={"expect_dark": True}))
    dark = -(planted.clean + planted.noise)
    report = planted.check(dark, ctf=None, options={"expect_ctf": False})
    assert "contrast" in only(report)


def test_without_poses_the_contrast_is_still_decided(planted):
    """Poses can be found from the images, so their absence is nothing to mend."""
    report = planted.check(-planted.images, rotation=None)
    assert [finding.check for finding in report] == ["contrast"]
    poses = next(fact for fact in report.facts if fact.check == "poses")
    assert poses.is_open
    assert "vitreous abinit" in str(poses)


def test_a_ctf_that_was_applied_is_seen_in_the_images(planted):
    c = planted.transfer
    assert "phases are flipped" in only(planted.check(planted.filtered(np.sign(c))))
    assert "multiplied by their CTF" in only(planted.check(planted.filtered(c)))
    assert "no effect of the CTF" in only(planted.check(planted.clean + planted.noise))


def test_a_ctf_that_is_missing_is_asked_for(planted):
    assert "--ctf" in only(planted.check(ctf=None))


@pytest.mark.parametrize(
    "scale, words",
    [
        (-1.0, "wrong way"),
        (1 / PIXEL, "pixels, not Å"),
        (PIXEL, "Å, not pixels"),
        (1 / BOX, "fractions of the box"),
    ],
)
def test_wrong_units_and_signs_of_shifts_are_named(planted, scale, words):
    report = planted.check(shift=planted.table.shift * np.float32(scale))
    assert words in only(report)


def test_shifts_of_centred_images_do_harm(planted):
    centred = images(planted.table.rotation, np.zeros((COUNT, 2)), BOX)
    stack = planted.filtered(planted.transfer, centred) + planted.noise
    assert "centred already" in only(planted.check(stack))


def test_transposed_and_foreign_rotations_are_named(planted):
    rotation = planted.table.rotation
    assert "transposed" in only(planted.check(rotation=rotation.transpose(0, 2, 1).copy()))
    foreign = rotation[np.random.default_rng(1).permutation(COUNT)]
    report = planted.check(rotation=foreign)
    assert "same order" in only(report)
    assert report.numbers["pose_signal_sigma"] < 6


def test_pixel_sizes_that_contradict_each_other(planted):
    assert "3.2 Å/px in its header" in only(planted.check(header=3.2))


def test_impossible_optics_are_named(planted):
    ctf = planted.table.ctf
    micrometres = ctf._replace(defocus_u=ctf.defocus_u / 1e4, defocus_v=ctf.defocus_v / 1e4)
    assert "not µm" in str(next(iter(planted.check(ctf=micrometres))))
    volts = ctf._replace(voltage=ctf.voltage * 1000)
    assert "kV" in str(next(iter(planted.check(ctf=volts))))


def test_bad_pixels_and_copies_are_counted(planted):
    stack = planted.images
    stack[7, 3, 3] = np.nan
    stack[11] = 2.0
    finding = only(planted.check(stack))
    assert "2 images" in finding
    assert "row 8" in finding
    copied = planted.table.image_index.copy()
    copied[5] = 4
    rotation = planted.table.rotation.copy()
    rotation[5] = rotation[4]
    assert "more than once" in only(planted.check(image_index=copied, rotation=rotation))


def test_what_keeps_files_from_being_read_is_a_finding_too(planted):
    report = planted.check(shift=planted.table.shift + 1000)
    assert "outside its box" in only(report)
    path = planted.folder / "p.star"
    planted.check()
    text = path.read_text()
    path.write_text(text.replace("rlnVoltage", "rlnVolts"))
    assert "rlnVoltage" in only(check_particles(path))
    first = next(line for line in text.splitlines() if "@" in line)
    path.write_text(text.replace(first, first.replace(first.split()[-1], "nan", 1)))
    assert "not a finite number" in only(check_particles(path))
    planted.check()
    stack = planted.folder / "p.mrcs"
    stack.write_bytes(stack.read_bytes()[:-100])
    assert "truncated" in only(check_particles(path))
    with pytest.raises(InputError, match=r"none\.star"):
        check_particles(planted.folder / "none.star")


def test_flags_of_the_optics_table_are_read(planted):
    planted.check()
    path = planted.folder / "p.star"
    lines = path.read_text().splitlines()
    last = max(i for i, line in enumerate(lines) if line.startswith("_rln") and i < 25)
    first_loop = lines.index("data_particles")
    optics = [i for i, line in enumerate(lines[:first_loop]) if line.startswith("_rln")]
    last = optics[-1]
    lines.insert(last + 1, f"_rlnCtfDataArePhaseFlipped #{len(optics) + 1}")
    row = next(i for i in range(last + 2, first_loop) if lines[i].strip())
    lines[row] += " 1"
    path.write_text("\n".join(lines) + "\n")
    assert "phases are flipped" in str(next(iter(check_particles(path))))


def test_a_reference_decides_the_hand_in_any_orientation(planted, tmp_path):
    truth = volume(BOX)
    # 90° about z, then moved: neither may matter.
    turned = np.roll(np.rot90(truth, axes=(1, 2)), (2, -1, 1), axis=(0, 1, 2))
    for name, reference in (("same", turned), ("mirror", turned[::-1])):
        write_map(tmp_path / "ref.mrc", np.pad(reference, 3), PIXEL)
        report = planted.check(options={"reference": tmp_path / "ref.mrc"})
        assert report.numbers["hand"] == name
        assert report.is_fine == (name == "same")


def test_noise_has_no_contrast():
    maps = np.random.default_rng(0).normal(size=(2, 16, 16, 16)).astype(np.float32)
    excess = np.random.default_rng(1).normal(size=200).astype(np.float32)
    assert decide_contrast(maps, excess)[0] == "undetermined"
    assert decide_contrast(maps, excess + 1)[0] == "white"
    assert decide_contrast(maps, excess - 1)[0] == "dark"

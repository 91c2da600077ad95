"""RELION 5 tilt series: poses, CTF and doses against a derivation of their own."""

import os

import numpy as np
import pytest
from tomo_project import Project, random_tomogram

from vitreous.analysis.candidates import Candidates
from vitreous.analysis.selecting import choose, parent_table, write_selection
from vitreous.cli.main import main
from vitreous.errors import InputError
from vitreous.particles import ImageSource, read_particles
from vitreous.particles.star import read_star
from vitreous.reconstruction.reconstruct import reconstruct

POINTS = np.array([[0, 0, 0], [10, 0, 0], [0, 10, 0], [3, -7, 11]], np.float64)


@pytest.fixture
def project(tmp_path):
    tomograms = [random_tomogram(), random_tomogram("T2", tilts=5, particles=2, seed=1, hand=1.0)]
    return Project(tmp_path / "project", tomograms).write()


def images_in_order(project):
    """Tomogram, particle and tilt of each row a table should have."""
    for tomogram in project.tomograms:
        for p, visible in enumerate(tomogram.visible):
            tilts = np.flatnonzero(visible)
            for t in tilts[np.argsort(tomogram.dose[tilts])]:
                yield tomogram, p, int(t)


def test_points_of_a_particle_land_where_the_tilt_series_projects_them(project):
    table = read_particles(project.particles)
    images = list(images_in_order(project))
    assert len(table) == len(images)
    for row, (tomogram, p, tilt) in enumerate(images):
        for point in POINTS:
            seen = table.rotation[row].astype(float) @ point
            expected = tomogram.in_image(p, point, tilt)
            # Float32 columns; points lie some 10 Å off the centre.
            np.testing.assert_allclose(seen[:2] + table.shift[row], expected, atol=2e-5)


def test_images_doses_and_particles_belong_together(project):
    table = read_particles(project.particles)
    source = ImageSource(table)
    images = list(images_in_order(project))
    values = source.read(np.arange(len(table)))[:, 0, 0]
    np.testing.assert_array_equal(values, [10 * p + t for _, p, t in images])
    np.testing.assert_array_equal(table.dose, [tomo.dose[t] for tomo, _, t in images])
    numbers = {key: k for k, key in enumerate(dict.fromkeys((o.name, p) for o, p, _ in images))}
    np.testing.assert_array_equal(table.particle, [numbers[o.name, p] for o, p, _ in images])
    np.testing.assert_array_equal(table.half_set, [p % 2 for _, p, _ in images])


def test_defocus_grows_or_falls_with_depth_as_the_hand_says(project):
    table = read_particles(project.particles)
    for row, (tomogram, p, tilt) in enumerate(images_in_order(project)):
        _, depth = tomogram.project(tomogram.in_tomogram(p, (0, 0, 0)), tilt)
        for k, name in enumerate(("defocus_u", "defocus_v")):
            expected = tomogram.defocus[tilt, k] + tomogram.hand * depth
            # Float32 holds 25000 Å to 0.002 Å.
            np.testing.assert_allclose(getattr(table.ctf, name)[row], expected, atol=5e-3)
        assert table.ctf.defocus_angle[row] == 20
        assert table.ctf.voltage[row] == 300
    assert np.ptp(table.ctf.defocus_u - table.ctf.defocus_v) > 1


def test_scale_is_as_given_else_the_cosine_of_the_tilt(tmp_path):
    plain = random_tomogram(visible=np.ones((4, 7), bool))
    given = random_tomogram("T2", visible=np.ones((4, 7), bool), scale=np.linspace(0.5, 1, 7))
    table = read_particles(Project(tmp_path / "p", [plain, given]).write().particles)
    first = np.argsort(plain.dose)
    thickness = [plain.rotation(t)[2, 2] for t in first]
    np.testing.assert_allclose(table.ctf.scale[:7], thickness, rtol=1e-6)
    np.testing.assert_allclose(thickness, np.cos(np.deg2rad(plain.angles[first, 1])), rtol=2e-3)
    np.testing.assert_allclose(table.ctf.scale[28:35], given.scale[first], rtol=1e-6)


def test_projection_matrices_of_relion4_say_the_same(project, tmp_path):
    other = Project(tmp_path / "four", project.tomograms, layout="relion4").write()
    five, four = read_particles(project.particles), read_particles(other.particles)
    np.testing.assert_allclose(four.rotation, five.rotation, atol=1e-6)
    np.testing.assert_allclose(four.shift, five.shift, atol=1e-5)
    for name, one, two in zip(five.ctf._fields, four.ctf, five.ctf, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-6, err_msg=name)


def test_tomograms_are_found_or_named(project, tmp_path, caplog):
    table = read_particles(project.particles)
    for again in (
        read_particles(project.set_file),
        read_particles(project.particles, tomograms=project.tomogram_file),
        read_particles(project.particles, tomograms=project.set_file),
    ):
        np.testing.assert_array_equal(again.rotation, table.rotation)
    assert not caplog.text
    project.set_file.unlink()
    assert read_particles(project.particles).rotation is None
    assert "optimisation_set.star" in caplog.text
    assert "tomograms.star" in caplog.text
    beside = project.particles.parent / "tomograms.star"
    beside.write_text(project.tomogram_file.read_text())
    np.testing.assert_array_equal(read_particles(project.particles).rotation, table.rotation)
    caplog.clear()
    (project.root / "Tomograms/job002/tilt_series/T2.star").unlink()
    assert read_particles(project.particles).rotation is None
    assert "tilt_series/T2.star" in caplog.text
    with pytest.raises(InputError, match=r"T2\.star .*no such file"):
        read_particles(project.particles, tomograms=project.tomogram_file)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("tomogram_file", "T2 1.0", "T3 1.0", r"has no tomogram T2 \(row 5"),
        ("particles", "[1,1,1,1,1] ", "[1,1,1,1,1,0] ", "row 5: .* of 6 tilts, .* has 5"),
        ("particles", "_rlnAngleTilt", "_rlnAngleOther", "has no orientations"),
        ("particles", "CenteredCoordinateX", "CenteredX", "has neither _rlnCenteredCoordinateX"),
        ("tilts", "_rlnTomoZRot", "_rlnOther", "not aligned yet"),
        ("tilts", "_rlnDefocusV", "_rlnOther", "has _rlnDefocusU but no _rlnDefocusV"),
        ("tilts", " 20.0 ", " nan ", "row 1: rlnDefocusAngle is not a finite number"),
    ],
)
def test_geometry_that_does_not_fit(project, file, old, new, message):
    project.tilts = project.root / "Tomograms/job002/tilt_series/T1.star"
    path = getattr(project, file)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(InputError, match=message):
        read_particles(project.particles)


def test_tilt_images_as_a_file_of_their_own(project, tmp_path):
    table = read_particles(project.particles)
    path = tmp_path / "elsewhere" / "tilts.star"
    table.select(slice(None, None, 2)).to_star(path, per_image=True)
    back = read_particles(path)
    chosen = table.select(slice(None, None, 2))
    np.testing.assert_allclose(back.rotation, chosen.rotation, atol=1e-6)
    np.testing.assert_allclose(back.shift, chosen.shift, atol=1e-5)
    np.testing.assert_array_equal(back.dose, chosen.dose)
    for name, one, two in zip(back.ctf._fields, back.ctf, chosen.ctf, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-6, err_msg=name)
    names = read_star(path).main.text("rlnGroupName")
    assert names[0] == "T1/1"
    assert names[-1] == "T2/2"
    same = chosen.particle[:, None] == chosen.particle
    np.testing.assert_array_equal(back.particle[:, None] == back.particle, same)
    values = ImageSource(back).read(np.arange(len(back)))
    np.testing.assert_array_equal(values, ImageSource(chosen).read(np.arange(len(chosen))))


def test_command_writes_the_images(project, tmp_path, capsys):
    out = tmp_path / "particles_2d.star"
    main(["parse-relion", "-p", str(project.set_file), "-o", str(out), "--ntilts", "2"])
    assert "12 images of 6 particles" in capsys.readouterr().out
    assert len(read_particles(out)) == 12
    for arguments, words in (
        (["-p", str(out)], "its rows are images already"),
        (["-p", str(project.particles), "-t", str(out)], "no tomograms.star"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(["parse-relion", *arguments])
        assert stop.value.code == 2
        assert words in capsys.readouterr().err


def test_selections_are_rows_of_the_parent_and_find_their_stacks(project, tmp_path):
    table = read_particles(project.particles)
    path = tmp_path / "elsewhere" / "some.star"
    chosen = table.select(np.isin(table.particle, [1, 5]))
    chosen.to_star(path)
    parent, kept = read_star(project.particles).main, read_star(path).main
    for column in parent.columns:
        if column != "rlnImageName":
            assert kept.text(column) == [parent.text(column)[row] for row in (1, 5)]
    back = read_particles(path, tomograms=project.tomogram_file)
    np.testing.assert_array_equal(back.rotation, chosen.rotation)
    ImageSource(back)
    # Inside the project the names lead somewhere already, and stay.
    inside = project.root / "Select" / "job009" / "particles.star"
    chosen.to_star(inside)
    assert read_star(inside).main.lines() == [parent.lines()[row] for row in (1, 5)]
    # Changed poses are those of images, which the parent has no place for.
    chosen.replace(shift=chosen.shift + np.float32(1)).to_star(path)
    np.testing.assert_allclose(read_particles(path).shift, chosen.shift + 1, atol=1e-5)


BLOBS = np.array([[12, 0, 0], [-8, 10, 4], [0, -12, 8], [2, 4, -14], [-6, -4, -2]], np.float64)
WIDTH = 6.0


def blob_image(tomogram, particle, tilt, box=24, pixel_size=4.0):
    """Project Gaussian blobs by the geometry above, and apply the CTF of their depth."""
    axis = (np.arange(box) - box // 2) * pixel_size
    image = np.zeros((box, box))
    for weight, blob in enumerate(BLOBS, 2):
        x, y = tomogram.in_image(particle, blob, tilt)
        image += weight * np.exp(-((axis - x) ** 2 + (axis[:, None] - y) ** 2) / (2 * WIDTH**2))
    ctf = blob_ctf(tomogram, particle, tilt, box, pixel_size)
    return np.fft.ifft2(np.fft.fft2(image) * ctf).real.astype(np.float32)


def blob_ctf(tomogram, particle, tilt, box=24, pixel_size=4.0):
    """The CTF at the particle's depth, zero frequency first."""
    _, depth = tomogram.project(tomogram.in_tomogram(particle, (0, 0, 0)), tilt)
    u, v = tomogram.defocus[tilt] + tomogram.hand * depth
    k = np.fft.fftfreq(box, pixel_size)
    square = k**2 + k[:, None] ** 2
    angle = np.arctan2(k[:, None], k) - np.deg2rad(20)
    focus = (u + v + (u - v) * np.cos(2 * angle)) / 2
    wavelength = 0.0196875  # Å, at 300 kV
    chi = np.pi * wavelength * focus * square - np.pi / 2 * 2.7e7 * wavelength**3 * square**2
    return np.sqrt(1 - 0.1**2) * np.sin(chi) + 0.1 * np.cos(chi)


def blob_decay(tomogram, tilt, box=24, pixel_size=4.0):
    """What is left of the amplitudes after the dose of a tilt (Grant & Grigorieff 2015)."""
    k = np.fft.fftfreq(box, pixel_size)
    square = np.maximum(k**2 + k[:, None] ** 2, 1e-12)
    return np.exp(-0.5 * tomogram.dose[tilt] / (0.245 * square ** (-1.665 / 2) + 2.81))


def test_a_simulated_tilt_series_gives_its_molecule_back(tmp_path):
    generator = np.random.default_rng(5)
    count = 16
    tomogram = random_tomogram(
        particles=count,
        coordinate=generator.uniform(-9000, 9000, (count, 3)),
        origin=generator.normal(0, 8, (count, 3)),
        subtomogram=generator.uniform(-180, 180, (count, 3)),
        orientation=generator.uniform(-180, 180, (count, 3)),
        visible=generator.random((count, 7)) > 0.1,
        scale=np.ones(7),
    )
    project = Project(tmp_path / "p", [tomogram], box=24, image=blob_image).write()
    table = read_particles(project.particles)
    axis = (np.arange(24) - 12) * 4.0
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    truth = sum(
        weight * np.exp(-((x - b[0]) ** 2 + (y - b[1]) ** 2 + (z - b[2]) ** 2) / (2 * WIDTH**2))
        for weight, b in enumerate(BLOBS, 2)
    )

    def agreement(table):
        volume = reconstruct(table, ImageSource(table), half_maps=False).volume
        return np.corrcoef(np.asarray(volume).ravel(), truth.ravel())[0, 1]

    found = agreement(table)
    assert found > 0.95

    def factor(particle, tilt):
        return blob_ctf(tomogram, particle, tilt) * blob_decay(tomogram, tilt)

    def multiplied(tomogram, particle, tilt):
        image = blob_image(tomogram, particle, tilt)
        return np.fft.ifft2(np.fft.fft2(image) * factor(particle, tilt)).real

    # RELION's own way: images multiplied by CTF and dose weight, and said to be so.
    optics = {"CtfDataAreCtfPremultiplied": [1]}
    project = Project(tmp_path / "q", [tomogram], box=24, image=multiplied, optics=optics).write()
    weighted = read_particles(project.particles)
    assert agreement(weighted) > 0.95
    # Both are taken off, so that a dose counts once. The first particle's tilt exposed last:
    last = int(np.flatnonzero(table.particle == 0)[-1])
    tilt = int(np.flatnonzero(tomogram.dose == table.dose[last])[0])
    rows = np.array([last])
    undone, recorded = (np.fft.fft2(ImageSource(t).read(rows)[0]) for t in (weighted, table))
    clear = np.abs(factor(0, tilt)) > 0.11
    clear[0, 0] = False
    assert table.dose[last] >= 15
    np.testing.assert_allclose(undone[clear], recorded[clear], atol=0.02 * np.abs(recorded).max())
    # What each part is worth: without it the map is clearly another.
    ctf = table.ctf._replace(
        defocus_u=2 * table.ctf.defocus_u.mean() - table.ctf.defocus_u,
        defocus_v=2 * table.ctf.defocus_v.mean() - table.ctf.defocus_v,
    )
    for wrong in (
        table.replace(ctf=ctf),
        table.replace(shift=-table.shift),
        table.replace(rotation=np.ascontiguousarray(np.swapaxes(table.rotation, 1, 2))),
    ):
        assert agreement(wrong) < found - 0.05


def test_table_of_another_folder_is_found_from_its_own(particle_set, tmp_path, monkeypatch):
    """Relative names of an ordinary table are made to lead somewhere, too."""
    folder = tmp_path / "set"
    folder.mkdir()
    for name in ("images.mrcs", "particles.star"):
        os.rename(tmp_path / name, folder / name)
    monkeypatch.chdir(folder)
    table = read_particles("particles.star").select([4, 1])
    table.to_star(tmp_path / "other" / "kept.star")
    monkeypatch.chdir("/")
    back = read_particles(tmp_path / "other" / "kept.star")
    expected = ImageSource(read_particles(folder / "particles.star")).read(np.array([4, 1]))
    np.testing.assert_array_equal(ImageSource(back).read(np.arange(2)), expected)
    table.to_star(folder / "kept.star")
    assert read_star(folder / "kept.star").main.text("rlnImageName")[0] == "000005@images.mrcs"


def test_particles_of_tomograms_are_selected_whole(tmp_path):
    """A row of such a file is a particle: rules see it once, and all its tilts are written."""
    project = Project(tmp_path / "p", [random_tomogram(particles=4)]).write()
    candidates = Candidates(project.particles)
    assert (candidates.of, len(candidates)) == ("particles", 4)
    chosen = choose(candidates, "half == 2")
    assert chosen.rows.tolist() == [1, 3]
    out = project.particles.parent / "kept.star"
    write_selection(chosen, out, parent_table(candidates))
    kept = read_particles(out, tomograms=project.tomogram_file)
    whole = read_particles(project.particles)
    assert len(kept) == np.isin(whole.particle, (1, 3)).sum()
    np.testing.assert_array_equal(kept.rotation, whole.rotation[np.isin(whole.particle, (1, 3))])

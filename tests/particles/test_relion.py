"""RELION tables against the peer's stored numbers, and every dialect of the format."""

import dataclasses

import numpy as np
import pytest

from vitreous.errors import InputError
from vitreous.geometry.rotations import euler_to_matrix
from vitreous.particles import (
    ImageSource,
    load_pickle,
    read_ctf_pickle,
    read_particles,
    write_stack,
)
from vitreous.particles.downsample import downsample_particles
from vitreous.particles.relion import RelionParticles
from vitreous.particles.star import read_star
from vitreous.particles.tilts import exposure_rank, weigh_tilts


def write(path, columns, optics=None, name="particles"):
    """Write a STAR file from lists of values."""
    text = ""
    for block, table in (("optics", optics), (name, columns)):
        if table:
            text += f"data_{block}\n\nloop_\n" + "".join(f"_rln{c}\n" for c in table)
            rows = zip(*table.values(), strict=True)
            text += "".join(" ".join(map(str, row)) + "\n" for row in rows) + "\n"
    path.write_text(text)
    return path


CTF = {
    "DefocusU": [10000, 11000],
    "DefocusV": [9000, 9500],
    "DefocusAngle": [30, 40],
    "Voltage": [300, 300],
    "SphericalAberration": [2.7, 2.7],
    "AmplitudeContrast": [0.1, 0.1],
}


@pytest.fixture
def stack(tmp_path):
    write_stack(tmp_path / "s.mrcs", np.arange(2 * 64).reshape(2, 8, 8), 1.25)
    return {"ImageName": ["1@s.mrcs", "000002@s.mrcs"]}


def test_relion30_agrees_with_the_peers_pickles(shared_data):
    folder = shared_data / "interop"
    particles = RelionParticles(read_star(folder / "FinalRefinement-OriginalParticles-PfCRT.star"))
    rotation, translation = load_pickle(folder / "pose.star.pkl")
    pixel_size = particles.pixel_size()
    np.testing.assert_allclose(pixel_size, 1.035)
    np.testing.assert_allclose(particles.rotation(), rotation, atol=1e-6)
    side = 300 * pixel_size[:, None]
    np.testing.assert_allclose(-particles.shift(pixel_size) / side, translation, atol=1e-8)
    ctf = particles.ctf({"amplitude_contrast": 0.1})
    peer, box, _ = read_ctf_pickle(folder / "ctf1.pkl")
    assert (box == 300).all()
    for name, ours, theirs in zip(ctf._fields, ctf, peer, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, err_msg=name)


def test_tilt_series_of_warp_agrees_with_the_peers_pickles(shared_data):
    folder = shared_data / "interop"
    table = read_particles(folder / "sta_testing_bin8.star")
    rotation, _ = load_pickle(folder / "sta_pose.pkl")
    np.testing.assert_allclose(table.rotation, rotation, atol=1e-6)
    peer, _, _ = read_ctf_pickle(folder / "sta_ctf.pkl")
    for name, ours, theirs in zip(table.ctf._fields[:7], table.ctf[:7], peer[:7], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, err_msg=name)
    assert len(table) == 219
    assert len(np.unique(table.particle)) == 6
    # B = −4 Å² per e/Å² in the file: decay, and dose.
    assert table.ctf.bfactor[0] == 13
    assert table.dose[0] == 3.25
    assert table.ctf.scale.min() == pytest.approx(0.5, abs=0.3)
    # The file has no origins (the peer's pickle holds uninitialised memory there).
    assert not table.shift.any()
    for particle in range(6):
        assert len(np.unique(table.half_set[table.particle == particle])) == 1


def test_mixed_optics_groups_keep_their_own_values(shared_data):
    table = read_particles(shared_data / "interop" / "relion31.6opticsgroups.star")
    assert len(table) == 139
    assert (np.unique(table.optics_group) == np.arange(6)).all()
    assert sorted(set(table.pixel_size.tolist())) == [1.24, 1.25]
    star = read_star(table.path)
    sizes = star.optics.numbers("rlnImagePixelSize")
    labels = star.optics.numbers("rlnOpticsGroup")
    own = star.main.numbers("rlnOpticsGroup")
    expected = [sizes[labels == label].item() for label in own]
    np.testing.assert_array_equal(table.pixel_size, expected)


def test_one_optics_group_and_angstrom_origins(shared_data):
    table = read_particles(shared_data / "interop" / "relion31.star")
    assert table.pixel_size.tolist() == [2.806] * 5
    np.testing.assert_allclose(table.shift[0], [-0.019324, 0.64686], rtol=1e-6)
    np.testing.assert_allclose(
        table.rotation[0], euler_to_matrix(np.array([-102.30296, 82.318041, 124.706463])), atol=1e-6
    )
    assert ImageSource(table).read(np.arange(5)).shape == (5, 256, 256)
    assert read_particles(shared_data / "interop" / "relion5.star").pixel_size[0] == 0.89


def test_pixel_size_of_relion30(tmp_path, stack):
    fields = {"DetectorPixelSize": [5, 5], "Magnification": [38168, 38168]}
    table = read_particles(write(tmp_path / "a.star", stack | fields, name="images"))
    np.testing.assert_allclose(table.pixel_size, 5e4 / 38168)
    # Without the fields: as given, else as the stack says.
    path = write(tmp_path / "b.star", stack, name="")
    assert read_particles(path).pixel_size.tolist() == [1.25, 1.25]
    assert read_particles(path, pixel_size=2.0).pixel_size.tolist() == [2, 2]
    assert read_particles(path).box.tolist() == [8, 8]
    assert read_particles(path).ctf is None
    assert read_particles(path).rotation is None


def test_origins_in_pixels_follow_the_pixel_size_of_the_group(tmp_path, stack):
    optics = {"OpticsGroup": [2, 1], "ImagePixelSize": [1.0, 3.0], "ImageSize": [8, 8]}
    columns = stack | {"OpticsGroup": [1, 2], "OriginX": [1, 1], "OriginY": [-1, 0]}
    table = read_particles(write(tmp_path / "a.star", columns, optics))
    assert table.shift.tolist() == [[-3, 3], [-1, 0]]
    assert table.pixel_size.tolist() == [3, 1]


def test_angstrom_origins_win_over_stale_pixels(tmp_path, stack):
    optics = {"OpticsGroup": [1], "ImagePixelSize": [1.0], "ImageSize": [8]}
    columns = stack | {"OpticsGroup": [1, 1], "OriginX": [3, 3], "OriginY": [3, 3]}
    columns |= {"OriginXAngst": [1, 2], "OriginYAngst": [0, 0]}
    table = read_particles(write(tmp_path / "a.star", columns, optics))
    assert table.shift.tolist() == [[-1, 0], [-2, 0]]


def test_missing_phase_shift_is_zero(tmp_path, stack):
    table = read_particles(write(tmp_path / "a.star", stack | CTF))
    assert table.ctf.phase_shift.tolist() == [0, 0]
    assert table.ctf.scale.tolist() == [1, 1]
    assert table.ctf.bfactor.tolist() == [0, 0]


def test_group_names_of_single_particles_are_no_tilt_series(tmp_path, stack):
    names = {"GroupName": ["mic", "mic"], "CtfBfactor": [0, 0]}
    assert read_particles(write(tmp_path / "a.star", stack | CTF | names)).particle is None
    doses = {"GroupName": ["p1", "p1"], "MicrographPreExposure": [0, 3]}
    table = read_particles(write(tmp_path / "b.star", stack | CTF | doses))
    assert table.particle.tolist() == [0, 0]
    assert table.dose.tolist() == [0, 3]


def test_half_sets_only_where_all_are_assigned(tmp_path, stack):
    for subset, expected in ([1, 2], [0, 1]), ([0, 0], None), ([1, 1], [0, 0]):
        path = write(tmp_path / "a.star", stack | {"RandomSubset": subset})
        half = read_particles(path).half_set
        assert (None if half is None else half.tolist()) == expected


def without(columns, name):
    return {key: values for key, values in columns.items() if key != name}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (without(CTF, "Voltage"), "has _rlnDefocusU but no _rlnVoltage"),
        (CTF | {"DefocusV": [1, "nan"]}, "row 2: rlnDefocusV is not a finite number"),
        (CTF | {"AmplitudeContrast": [7, 7]}, "row 1: amplitude contrast is outside"),
        (CTF | {"Voltage": [300, 0]}, "row 2: voltage is not positive"),
        ({"ImageName": ["s.mrcs", "2@s.mrcs"]}, "row 1: _rlnImageName is 's.mrcs'"),
        ({"ImageName": ["0@s.mrcs", "2@s.mrcs"]}, "row 1: _rlnImageName is '0@s.mrcs'"),
        ({"OriginX": [0, 9], "OriginY": [0, 0]}, "row 2: the shift puts the particle outside"),
        ({"AngleRot": [0, "NaN"], "AngleTilt": [0, 0], "AnglePsi": [0, 0]}, "row 2: rlnAngleRot"),
    ],
)
def test_rows_that_cannot_be_used(tmp_path, stack, columns, message):
    path = write(tmp_path / "bad.star", stack | columns)
    with pytest.raises(InputError, match=message):
        read_particles(path)


def test_optics_that_cannot_be_used(tmp_path, stack):
    path = tmp_path / "bad.star"
    optics = {"OpticsGroup": [1, 2], "ImagePixelSize": [1.0, 2.0], "ImageSize": [8, 8]}
    with pytest.raises(InputError, match="row 2: _rlnOpticsGroup 7 is not in data_optics"):
        read_particles(write(path, stack | {"OpticsGroup": [1, 7]}, optics))
    with pytest.raises(InputError, match="data_particles has no _rlnOpticsGroup"):
        read_particles(write(path, stack, optics))
    nan = optics | {"ImagePixelSize": ["nan", 2.0]}
    with pytest.raises(InputError, match="row 1: pixel size is not a finite number"):
        read_particles(write(path, stack | {"OpticsGroup": [1, 2]}, nan))
    with pytest.raises(InputError, match="no _rlnImageName"):
        read_particles(write(path, CTF))
    empty = tmp_path / "empty.star"
    empty.write_text("data_particles\nloop_\n_rlnImageName\n")
    with pytest.raises(InputError, match="has no particles"):
        read_particles(empty)


@pytest.fixture
def tomo(tmp_path):
    """Two particles of a RELION 5 tomogram with three and two visible tilts."""
    write_stack(tmp_path / "p1.mrcs", np.ones((3, 8, 8)), 2.0)
    write_stack(tmp_path / "p2.mrcs", 2 * np.ones((2, 8, 8)), 2.0)
    optics = {"OpticsGroup": [1], "ImagePixelSize": [2.0], "ImageSize": [8], "Voltage": [300]}
    columns = {
        "TomoName": ["t", "t"],
        "TomoParticleName": ["t/1", "t/2"],
        "ImageName": ["p1.mrcs", "p2.mrcs"],
        "TomoVisibleFrames": ["[1,0,1,1]", "[1,0,0,1]"],
        "OpticsGroup": [1, 1],
        "RandomSubset": [1, 2],
    }
    path = write(tmp_path / "tomo.star", columns, optics)
    general = "data_general\n\n_rlnTomoSubTomosAre2DStacks 1\n\n"
    path.write_text(general + path.read_text())
    return path


def test_tomo_stacks_give_their_images(tomo, tmp_path, caplog):
    table = read_particles(tomo)
    assert "poses and CTF of the tilts are not in this file" in caplog.text
    assert table.particle.tolist() == [0, 0, 0, 1, 1]
    assert table.image_index.tolist() == [0, 1, 2, 0, 1]
    assert table.half_set.tolist() == [0, 0, 0, 1, 1]
    assert table.rotation is None
    assert ImageSource(table).read(np.array([4, 0]))[:, 0, 0].tolist() == [2, 1]
    table.select([4, 3]).to_star(tmp_path / "second.star")
    kept = read_star(tmp_path / "second.star")
    assert kept.main.text("rlnTomoParticleName") == ["t/2"]
    assert kept.find("general").numbers("rlnTomoSubTomosAre2DStacks")[0] == 1


def test_tomo_tables_that_cannot_be_read(tomo):
    text = tomo.read_text()
    tomo.write_text(text.replace("[1,0,1,1]", "[1,0,1,0]"))
    with pytest.raises(InputError, match=r"p1\.mrcs: has 3 images, but row 1 .* shows 2 tilts"):
        read_particles(tomo)
    tomo.write_text(text.replace("2DStacks 1", "2DStacks 0"))
    with pytest.raises(InputError, match="3-D subtomograms"):
        read_particles(tomo)


def test_premultiplied_images_without_a_ctf_are_warned_of(tmp_path, stack, caplog):
    optics = {"OpticsGroup": [1], "ImagePixelSize": [1.0], "ImageSize": [8]}
    optics |= {"CtfDataAreCtfPremultiplied": [1]}
    table = read_particles(write(tmp_path / "a.star", stack | {"OpticsGroup": [1, 1]}, optics))
    assert table.ctf_applied.tolist() == [True, True]
    ImageSource(table)
    assert "cannot be undone" in caplog.text


def test_premultiplied_images_come_out_as_recorded(tmp_path):
    box, size, group = 32, 2.0, [1, 1, 2]
    generator = np.random.default_rng(0)
    recorded = generator.normal(size=(3, box, box))
    k = np.fft.fftfreq(box, size)
    square = k**2 + k[:, None] ** 2
    chi = np.pi * 0.0196875 * 12000 * square - np.pi / 2 * 2.7e7 * 0.0196875**3 * square**2
    ctf = 0.8 * (np.sqrt(1 - 0.1**2) * np.sin(chi) + 0.1 * np.cos(chi))
    multiplied = np.fft.ifft2(np.fft.fft2(recorded[:2]) * ctf).real
    images = np.concatenate([multiplied, recorded[2:]]).astype(np.float32)
    write_stack(tmp_path / "s.mrcs", images, size)
    optics = {"OpticsGroup": [1, 2], "ImagePixelSize": [size] * 2, "ImageSize": [box] * 2}
    optics |= {"CtfDataAreCtfPremultiplied": [1, 0]}
    columns = {name: [values[0]] * 3 for name, values in CTF.items()}
    columns |= {"DefocusU": [12000] * 3, "DefocusV": [12000] * 3, "CtfScalefactor": [0.8] * 3}
    columns |= {"ImageName": [f"{i}@s.mrcs" for i in (1, 2, 3)], "OpticsGroup": group}
    table = read_particles(write(tmp_path / "a.star", columns, optics))
    read = ImageSource(table).read(np.array([2, 1, 0]))[::-1]
    np.testing.assert_array_equal(read[2], images[2])
    found, wanted = np.fft.fft2(read[:2]), np.fft.fft2(recorded[:2])
    clear = (np.abs(ctf) > 0.09) & (square > 0)
    # The reader's wavelength has more digits: a few thousandths of the phase.
    np.testing.assert_allclose(found[:, clear], wanted[:, clear], atol=0.02 * np.abs(wanted).max())
    faint = (np.abs(ctf) < 0.07) & (square > 0)
    assert (np.abs(found[:, faint]) < np.abs(wanted[:, faint])).all()
    # What is written from what was read is not multiplied any more, and says so.
    smaller = downsample_particles(table, 16, tmp_path / "small.star")
    assert smaller.ctf_applied is None
    assert read_particles(tmp_path / "small.star").ctf_applied is None
    table.select([2, 0]).replace(shift=table.shift[:2]).to_star(tmp_path / "kept.star")
    assert read_particles(tmp_path / "kept.star").ctf_applied.tolist() == [False, True]
    made = dataclasses.replace(table, source=None)
    made.to_star(tmp_path / "made.star")
    assert read_particles(tmp_path / "made.star").ctf_applied.tolist() == [True, True, False]


def test_micrograph_groups_with_decay_are_no_tilt_series(tmp_path, stack):
    # Two micrographs with a B factor each, pooled in one group.
    names = {"ImageName": ["1@s.mrcs"] * 8, "GroupName": ["g"] * 8}
    names |= {"CtfBfactor": [-1] * 4 + [-2] * 4}
    assert read_particles(write(tmp_path / "a.star", names)).particle is None


def test_series_without_doses_are_told_by_their_scale_factors(tmp_path, stack):
    """Tilts of −30° … 30° in the order of the angle, of four particles; no dose column at all."""
    angle = np.tile(np.arange(-30, 31, 10), 4)
    n = len(angle)
    columns = {name: [values[0]] * n for name, values in CTF.items()}
    columns |= {"ImageName": stack["ImageName"][:1] * n, "OpticsGroup": [1] * n}
    columns |= {"GroupName": [f"p{k // 7}" for k in range(n)]}
    columns |= {"CtfScalefactor": np.cos(np.deg2rad(angle)).round(4).tolist()}
    optics = {"OpticsGroup": [1], "ImagePixelSize": [2.0], "ImageSize": [8]}
    table = read_particles(write(tmp_path / "a.star", columns, optics))
    assert table.particle.tolist() == [k // 7 for k in range(n)]
    assert table.dose is None
    # The untilted image was exposed first; then both of 10°, 20°, 30°.
    assert exposure_rank(table)[:7].tolist() == [5, 3, 1, 0, 2, 4, 6]
    weighed = weigh_tilts(table, dose_per_tilt=3.0)
    assert weighed.dose[:7].tolist() == [15, 9, 3, 0, 6, 12, 18]
    np.testing.assert_array_equal(weighed.ctf.scale, table.ctf.scale)
    # B factors of 0 are no doses, and scales fitted to single particles no tilts.
    table = read_particles(write(tmp_path / "b.star", columns | {"CtfBfactor": [0] * n}, optics))
    assert table.particle is not None
    assert table.dose is None
    columns["CtfScalefactor"] = np.random.default_rng(0).uniform(0.8, 1.2, n).tolist()
    assert read_particles(write(tmp_path / "c.star", columns, optics)).particle is None


def test_groups_of_few_single_particles_are_no_series(tmp_path, stack):
    """Nearly every micrograph a group of its own, and columns that say the same of all."""
    n = 20
    columns = {name: [values[0]] * n for name, values in CTF.items()}
    columns |= {"ImageName": stack["ImageName"][:1] * n, "OpticsGroup": [1] * n}
    columns |= {"CtfBfactor": [0] * n, "CtfScalefactor": [1] * n}
    optics = {"OpticsGroup": [1], "ImagePixelSize": [2.0], "ImageSize": [8]}
    for groups in (19, 10):
        columns["GroupName"] = [f"g{k % groups}" for k in range(n)]
        assert read_particles(write(tmp_path / "a.star", columns, optics)).particle is None

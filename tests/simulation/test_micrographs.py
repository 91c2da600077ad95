"""Micrographs show each particle where its truth says, as strong and as blurred as it should be."""

from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from vitreous.cli.main import main
from vitreous.errors import InputError
from vitreous.geometry.fourier import half_plane, image_from_half_plane
from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.geometry.rotations import euler_to_matrix
from vitreous.imaging.ctf import CTFParameters, evaluate_ctf
from vitreous.imaging.grid import ImageGrid
from vitreous.imaging.ice import GaussianIce
from vitreous.mrc import read_sections
from vitreous.particles.star import read_star
from vitreous.simulation import (
    HingeMotion,
    MapStates,
    MicrographOptions,
    Optics,
    hinge_phantom,
    simulate_micrographs,
)
from vitreous.simulation.counting import contrast_of_sum
from vitreous.simulation.field_of_view import image_field
from vitreous.simulation.field_truth import draw_field
from vitreous.simulation.micrograph_files import read_micrographs

BOX, PIXEL = 24, 8.0
LENS = Optics(defocus=(20000.0, 20000.0), astigmatism=0.0)
QUIET = MicrographOptions(
    size=(160, 128), particles=3, min_distance=300.0, ice=0.0, depth=0.0, dose=20.0, optics=LENS
)


@pytest.fixture(scope="module")
def specimen() -> MapStates:
    """Two states of the hinge."""
    motion = HingeMotion(hinge_phantom(), BOX, PIXEL, states=2)
    return MapStates.of(motion.volumes(), PIXEL)


def test_a_field_is_the_sum_of_its_particles(specimen: MapStates) -> None:
    """Alone and together; and moving a particle by whole pixels moves its image."""
    truth = draw_field(specimen, QUIET, 0)
    whole = image_field(specimen, truth, QUIET, 0).molecules

    def only(rows: slice, move: int = 0) -> np.ndarray:
        part = truth._replace(
            place=truth.place[rows] + move,
            height=truth.height[rows],
            rotation=truth.rotation[rows],
            state=truth.state[rows],
        )
        return image_field(specimen, part, QUIET, 0).molecules

    parts = [only(slice(k, k + 1)) for k in range(3)]
    np.testing.assert_allclose(sum(parts), whole, atol=1e-4 * whole.max())
    moved = only(slice(0, 1), move=3)
    inner = (slice(20, -20), slice(20, -20))
    np.testing.assert_allclose(
        moved[inner], np.roll(parts[0], (3, 3), axis=(0, 1))[inner], atol=1e-4 * whole.max()
    )


def test_height_adds_to_the_defocus(specimen: MapStates) -> None:
    """A particle high in the ice looks as one in focus at the sum, to the slabs' tolerance."""
    deep = replace(QUIET, depth=3000.0)
    truth = draw_field(specimen, deep, 0)
    truth = truth._replace(
        place=truth.place[:1],
        height=np.array([1490.0]),
        rotation=truth.rotation[:1],
        state=truth.state[:1],
    )
    assert truth.particle_ctf().defocus_u.tolist() == [21490.0]
    high = image_field(specimen, truth, deep, 0).molecules
    ctf = truth.ctf._replace(defocus_u=np.float32(21490), defocus_v=np.float32(21490))
    flat = truth._replace(height=np.zeros(1), ctf=ctf)
    same = image_field(specimen, flat, QUIET, 0).molecules
    other = image_field(specimen, truth._replace(height=np.zeros(1)), QUIET, 0).molecules

    def apart(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.linalg.norm(a - b) / np.linalg.norm(b))

    # The slabs' phases are right to 0.1 at Nyquist.
    assert apart(high, same) < 0.06
    assert apart(other, same) > 3 * apart(high, same)


def test_a_particle_looks_as_the_ctf_says(specimen: MapStates) -> None:
    """Against a projection made here: the sum of the map over z, on a canvas of its own."""
    options = replace(QUIET, particles=1, size=(128, 128))
    truth = draw_field(specimen, options, 0)
    truth = truth._replace(
        place=np.array([[64.0, 64.0]]), rotation=np.eye(3, dtype=np.float32)[None]
    )
    image = image_field(specimen, truth, options, 0).molecules
    canvas = np.zeros((128, 128), np.float32)
    # The simulator leaves out what lies beyond the Nyquist circle of the box.
    pixels = FourierPixels(BOX, (BOX - 1) // 2, min_shell=0)
    view = half_plane(jnp.asarray(specimen.volumes()[truth.state[0]].sum(axis=0)))
    view = image_from_half_plane(pixels.scatter(pixels.gather(view)), BOX)
    canvas[52:76, 52:76] = np.asarray(view)
    k = ImageGrid(128, PIXEL).frequencies()
    ctf = CTFParameters(*(jnp.float32(float(field)) for field in truth.ctf))
    lens = evaluate_ctf(k.astype(jnp.float32).reshape(-1, 2), ctf).reshape(128, 65)
    half = half_plane(jnp.asarray(canvas)) * lens.astype(jnp.complex64)
    direct = np.asarray(image_from_half_plane(half, 128))
    assert np.linalg.norm(image - direct) < 0.03 * np.linalg.norm(direct)


def test_electrons_are_counted(specimen: MapStates, tmp_path: Path) -> None:
    """Mean and variance of Poisson, and a molecule that takes electrons from the beam."""
    truths = simulate_micrographs(specimen, tmp_path, QUIET)
    _, sections = read_sections(tmp_path / "micrographs" / "mic_0001.mrc")
    image = sections[0]
    electrons = 20.0 * PIXEL**2
    assert image.shape == (128, 160)
    np.testing.assert_array_equal(image, np.rint(image))
    signal = image_field(specimen, truths[0], QUIET, 0).molecules
    scale = contrast_of_sum(np.array([300.0]), PIXEL).item()
    rate = electrons * (1 - scale * signal)
    excess = (image - rate) / np.sqrt(rate)
    # 20,480 counts: the mean is known to 0.7 %, the variance to 1 %.
    assert abs(excess.mean()) < 0.03
    assert excess.var() == pytest.approx(1, abs=0.04)
    x, y = np.rint(truths[0].place).astype(int).T
    for a, b in zip(x, y, strict=True):
        assert image[b - 5 : b + 6, a - 5 : a + 6].mean() < electrons


def test_ice_has_the_power_of_its_thickness(specimen: MapStates) -> None:
    """Without a lens the ice's variance is that of the imaging module's, in units of the map."""
    options = replace(QUIET, particles=0, ice=500.0, depth=100.0, optics=None, dose=None)
    truth = draw_field(specimen, options, 0)
    ice = image_field(specimen, truth, options, 0).ice
    grid = ImageGrid(128, PIXEL)
    power = np.asarray(GaussianIce(500.0).power(grid))
    phase = contrast_of_sum(np.array([300.0]), PIXEL).item() / 2
    expected = float((power * grid.weights()).sum()) / 128**2 / phase**2
    assert ice.var() == pytest.approx(expected, rel=0.05)


def test_the_ratio_is_that_of_the_particles_boxes(specimen: MapStates, tmp_path: Path) -> None:
    options = replace(QUIET, dose=None, snr=0.5)
    truth = simulate_micrographs(specimen, tmp_path, options)[0]
    _, sections = read_sections(tmp_path / "micrographs" / "mic_0001.mrc")
    signal = image_field(specimen, truth, options, 0).molecules
    noise = sections[0] + signal
    boxes = [signal[y - 12 : y + 12, x - 12 : x + 12] for x, y in np.rint(truth.place).astype(int)]
    assert np.var(boxes) / noise.var() == pytest.approx(0.5, rel=0.05)


def test_the_tables_say_what_was_simulated(specimen: MapStates, tmp_path: Path) -> None:
    options = replace(QUIET, count=2, ice=200.0, depth=None)
    truths = simulate_micrographs(specimen, tmp_path, options)
    table = read_star(tmp_path / "particles.star")
    assert table.optics is not None
    rows = table.main
    place = np.stack([rows.numbers(f"rlnCoordinate{axis}") for axis in "XY"], axis=1)
    np.testing.assert_allclose(place, np.concatenate([t.place for t in truths]), atol=1e-3)
    angles = np.stack([rows.numbers(f"rlnAngle{a}") for a in ("Rot", "Tilt", "Psi")], axis=1)
    turned = np.concatenate([t.rotation for t in truths])
    np.testing.assert_allclose(euler_to_matrix(angles), turned, atol=1e-5)
    height = np.concatenate([t.height for t in truths])
    np.testing.assert_allclose(rows.numbers("rlnDefocusU") - 20000, height, atol=0.01)
    assert np.abs(height).max() <= 100
    micrographs = read_micrographs([tmp_path / "micrographs.star"])
    assert [one.pixel_size for one in micrographs] == [PIXEL, PIXEL]
    assert float(micrographs[1].ctf.defocus_u) == 20000
    assert micrographs[1].path.name == "mic_0002.mrc"
    single = read_star(tmp_path / "coordinates" / "mic_0002.star").main
    np.testing.assert_allclose(single.numbers("rlnCoordinateX"), place[3:, 0])
    with np.load(tmp_path / "truth.npz") as truth:
        assert truth["micrograph"].tolist() == [0, 0, 0, 1, 1, 1]
        np.testing.assert_allclose(truth["place"], place, atol=1e-3)


def test_repeating_a_command_gives_the_same_files(specimen: MapStates, tmp_path: Path) -> None:
    def stop(micrographs: int) -> None:
        raise KeyboardInterrupt

    options = replace(QUIET, count=2, ice=100.0)
    simulate_micrographs(specimen, tmp_path / "a", options)
    with pytest.raises(KeyboardInterrupt):
        simulate_micrographs(specimen, tmp_path / "b", options, progress=stop)
    assert not (tmp_path / "b" / "particles.star").exists()
    with pytest.raises(InputError, match="part of another set"):
        simulate_micrographs(specimen, tmp_path / "b", replace(options, seed=1))
    simulate_micrographs(specimen, tmp_path / "b", options)
    for path in (tmp_path / "a").rglob("*.*"):
        other = tmp_path / "b" / path.relative_to(tmp_path / "a")
        assert path.read_bytes() == other.read_bytes(), path.name
    with pytest.raises(InputError, match="holds micrographs"):
        simulate_micrographs(specimen, tmp_path / "b", options)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": (8, 100)}, "--size 8 100"),
        ({"size": (20, 100)}, "no room"),
        ({"particles": 200}, "find room"),
        ({"dose": 0.0}, "--dose 0"),
        ({"dose": 20.0, "snr": 0.1}, "leave out --snr"),
        ({"ice": -1.0}, "--ice -1"),
        ({"optics": None}, "leave out --no-ctf"),
        ({"dose": None, "snr": 0.1, "particles": 0}, "no signal"),
    ],
)
def test_senseless_options_are_refused(
    specimen: MapStates, tmp_path: Path, changes: dict, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        simulate_micrographs(specimen, tmp_path / "out", replace(QUIET, **changes))
    assert not (tmp_path / "out").exists()


def test_maps_that_are_no_potentials_cannot_be_counted(specimen: MapStates, tmp_path: Path) -> None:
    heavy = MapStates.of(1e4 * specimen.volumes(), PIXEL)
    with pytest.raises(InputError, match="negative Poisson rate"):
        simulate_micrographs(heavy, tmp_path / "out", QUIET)
    assert not (tmp_path / "out").exists()


def run(*words: object) -> int:
    try:
        main([str(word) for word in words])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_the_commands_from_phantom_to_peaks(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Simulate two micrographs and search them; repeating the search does nothing again."""
    session, found = tmp_path / "session", tmp_path / "found"
    words = ["--phantom", "hinge", "-D", "24", "--apix", "8", "--states", "1", "--angles", "20"]
    words += ["20", "--size", "128", "112", "-n", "3", "--min-distance", "220", "--micrographs"]
    assert run("simulate-micrograph", *words, "2", "--dose", "60", "-o", session) == 0
    assert "2 micrographs of 128×112" in capsys.readouterr().out
    template = session / "volumes" / "vol_000.mrc"
    search = ["match-template", session / "micrographs.star", "--template", template]
    search += ["--step", "40", "--defocus-range", "200", "-o", found]
    assert run(*search) == 0
    assert "peaks in 2 micrographs, 432 orientations" in capsys.readouterr().out
    peaks = read_star(found / "peaks.star")
    assert peaks.optics is not None
    names = set(peaks.main.text("rlnMicrographName"))
    assert names == {"micrographs/mic_0001.mrc", "micrographs/mic_0002.mrc"}
    written = {path.name for path in (found / "mic_0001").iterdir()}
    assert {"max_snr.mrc", "z_score.mrc", "psi.mrc", "defocus_offset.mrc"} < written
    assert {"histogram.png", "peaks.png", "peaks.star", "match.yaml"} < written
    assert not [name for name in written if name.startswith(".")]
    before = (found / "mic_0001" / "match.yaml").stat().st_mtime_ns
    assert run(*search) == 0
    assert (found / "mic_0001" / "match.yaml").stat().st_mtime_ns == before
    bare = tmp_path / "bare.star"
    bare.write_text("data_\n\nloop_\n_rlnMicrographName #1\nmicrographs/mic_0001.mrc\n")
    picture = session / "micrographs" / "mic_0001.mrc"
    for first, more, message in [
        (bare, [], "no data_optics"),
        (picture, [], "nothing tells its defocus"),
        (template, ["--no-ctf"], "holds 24 sections"),
        (picture, ["--no-ctf", "-D", "200"], "larger than the micrograph"),
        (picture, ["--no-ctf", "--sym", "Q"], "not a point group"),
    ]:
        capsys.readouterr()
        out = tmp_path / "none"
        assert run("match-template", first, "--template", template, *more, "-o", out) == 2
        told = capsys.readouterr().err.strip().splitlines()
        assert len(told) == 1
        assert message in told[0]
        assert not out.exists()

"""Doses, ratios, ice, weights and given poses: each does what its name says."""

from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from vitreous.cli.main import main
from vitreous.errors import InputError
from vitreous.imaging.ctf import CTFParameters, evaluate_ctf
from vitreous.imaging.grid import ImageGrid
from vitreous.imaging.ice import GaussianIce
from vitreous.maps import write_map
from vitreous.particles import ImageSource, ParticleTable, read_particles, save_pose_pickle
from vitreous.simulation import (
    HingeMotion,
    MapStates,
    Optics,
    ParticleOptions,
    hinge_phantom,
    simulate_particles,
    state_maps,
)
from vitreous.simulation.counting import contrast_of_sum, counting_deviation
from vitreous.simulation.given import drawn_ctfs, given_poses

BOX, PIXEL = 16, 13.0
OPTICS = Optics(defocus=(2e4, 4e4))
OPTIONS = ParticleOptions(count=96, snr=None, optics=OPTICS, seed=5, batch=32)

TWO_MODELS = """\
MODEL        1
ATOM      1  CA  GLY A   1       0.000   0.000   0.000  1.00 80.00           C
ATOM      2  CA  GLY A   2      14.000   0.000   4.000  1.00 80.00           C
ENDMDL
MODEL        2
ATOM      1  CA  GLY A   1       0.000   0.000   0.000  1.00 80.00           C
ATOM      2  CA  GLY A   2       0.000  14.000   4.000  1.00 80.00           C
ENDMDL
END
"""


@pytest.fixture(scope="module")
def specimen() -> MapStates:
    """Three states of the hinge, unequally frequent."""
    motion = HingeMotion(hinge_phantom(), BOX, PIXEL, states=3)
    return MapStates.of(motion.volumes(), PIXEL, "linear", weights=(1.0, 0.0, 3.0))


def images_of(table: ParticleTable) -> np.ndarray:
    return ImageSource(table).read(np.arange(len(table)))


@pytest.fixture(scope="module")
def clean(specimen: MapStates, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """The images without noise."""
    return images_of(simulate_particles(specimen, tmp_path_factory.mktemp("clean"), OPTIONS))


def test_states_come_by_their_weights(specimen: MapStates, tmp_path: Path) -> None:
    simulate_particles(specimen, tmp_path, OPTIONS)
    with np.load(tmp_path / "truth.npz") as truth:
        assert np.bincount(truth["labels"]).tolist() == [24, 0, 72]
        assert truth["ctf"].shape == (96, len(CTFParameters._fields))
    star = (tmp_path / "particles.star").read_text()
    assert "_rlnClassNumber" in star
    uneven = MapStates.of(specimen.volumes(), PIXEL, weights=(1.0, 1.0, 1.0))
    assert sorted(np.bincount(uneven.draw(np.random.default_rng(0), 98)[0])) == [32, 33, 33]
    for weights in [(1.0, 1.0), (1.0, -1.0, 1.0), (0.0, 0.0, 0.0)]:
        with pytest.raises(InputError, match="--weights"):
            MapStates.of(specimen.volumes(), PIXEL, weights=weights)


@pytest.mark.parametrize(("counting", "contrast"), [("poisson", "white"), ("gaussian", "dark")])
def test_a_dose_gives_the_noise_of_its_electrons(
    specimen: MapStates, clean: np.ndarray, tmp_path: Path, counting: str, contrast: str
) -> None:
    """In units of the map: a deviation of 1 / (2λγ Δ² √dose), and no bias."""
    options = replace(OPTIONS, dose=30.0, counting=counting, contrast=contrast)
    images = images_of(simulate_particles(specimen, tmp_path, options))
    noise = (images if contrast == "white" else -images) - clean
    voltage = np.array([300.0])
    deviation = counting_deviation(voltage, PIXEL, 30.0).item()
    scale = contrast_of_sum(voltage, PIXEL).item()
    assert deviation == pytest.approx(1 / (scale * np.sqrt(30 * PIXEL**2)))
    # Where the molecule takes a share s of the electrons the variance is (1 − s) as large.
    share = scale * clean
    standard = noise / (deviation * np.sqrt(1 - share))
    # 24,576 samples: deviations of a variance are 0.9 %, of the mean 0.6 %.
    assert standard.var() == pytest.approx(1, abs=0.035)
    assert abs(standard.mean()) < 0.025
    with np.load(tmp_path / "truth.npz") as truth:
        assert float(truth["noise"]) == pytest.approx(deviation, rel=1e-5)


def test_a_map_that_is_no_potential_cannot_be_counted(specimen: MapStates, tmp_path: Path) -> None:
    heavy = MapStates.of(1e4 * specimen.volumes(), PIXEL)
    with pytest.raises(InputError, match="negative Poisson rate"):
        simulate_particles(heavy, tmp_path / "out", replace(OPTIONS, dose=20.0))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("region", ["box", "mask"])
def test_a_ratio_is_what_it_says(
    specimen: MapStates, clean: np.ndarray, tmp_path: Path, region: str
) -> None:
    options = replace(OPTIONS, snr=0.25, snr_definition=region, mask_radius=60.0)
    noise = images_of(simulate_particles(specimen, tmp_path, options)) - clean
    away = np.hypot(*np.meshgrid(*[np.arange(BOX) - BOX // 2] * 2)) * PIXEL
    pixels = clean if region == "box" else clean[:, away <= 60.0]
    assert pixels.var() / noise.var() == pytest.approx(0.25, rel=0.03)


def test_ice_lies_before_the_lens(specimen: MapStates, clean: np.ndarray, tmp_path: Path) -> None:
    """Its power is the imaging module's, in units of the map, times the squared CTF."""
    table = simulate_particles(specimen, tmp_path, replace(OPTIONS, ice=600.0))
    ice = images_of(table) - clean
    grid = ImageGrid(BOX, PIXEL)
    k = grid.frequencies().astype(jnp.float32)
    inside = np.rint(np.linalg.norm(k, axis=-1) * BOX * PIXEL) <= (BOX - 1) // 2
    ctf = CTFParameters(*(jnp.asarray(field) for field in table.ctf))
    lens = np.asarray(evaluate_ctf(k.reshape(1, -1, 2), ctf)).reshape(-1, *inside.shape)
    power = np.asarray(GaussianIce(600.0).power(grid)) * np.mean(lens**2, axis=0) * inside
    phase = contrast_of_sum(np.array([300.0]), PIXEL).item() / 2
    expected = float((power * grid.weights()).sum()) / BOX**2 / phase**2
    assert ice.var() == pytest.approx(expected, rel=0.04)


def test_each_model_is_a_state(tmp_path: Path) -> None:
    path = tmp_path / "two.pdb"
    path.write_text(TWO_MODELS)
    maps, _ = state_maps([path], 16, 4.0, all_models=True)
    assert len(maps) == 2
    # The second atom lies along x in one model, along y in the other.
    wide = [m.sum(axis=(0, 1)) > 0.1 * m.sum(axis=(0, 1)).max() for m in maps]
    assert wide[0].sum() > wide[1].sum()
    assert len(state_maps([path], 16, 4.0)[0]) == 1


def test_poses_and_ctfs_from_files(specimen: MapStates, tmp_path: Path) -> None:
    table = simulate_particles(specimen, tmp_path, replace(OPTIONS, max_shift=30.0))
    star = tmp_path / "particles.star"
    given = given_poses(star, 10, BOX * PIXEL)
    np.testing.assert_allclose(given.rotation, table.rotation[:10], atol=1e-5)
    np.testing.assert_allclose(given.ctf.defocus_u, table.ctf.defocus_u[:10])
    pickle = tmp_path / "poses.pkl"
    save_pose_pickle(pickle, table.rotation, table.shift, np.full(96, BOX * PIXEL))
    np.testing.assert_allclose(given_poses(pickle, None, BOX * PIXEL).shift, table.shift, atol=1e-3)
    with pytest.raises(InputError, match=r"-n 200: .* holds 96 poses"):
        given_poses(star, 200, BOX * PIXEL)
    np.testing.assert_array_equal(drawn_ctfs(star, 96, 0).defocus_u, table.ctf.defocus_u)
    drawn = drawn_ctfs(star, 300, 0).defocus_u
    assert set(drawn) <= set(table.ctf.defocus_u)
    np.testing.assert_array_equal(drawn, drawn_ctfs(star, 300, 0).defocus_u)
    assert not np.array_equal(drawn, drawn_ctfs(star, 300, 1).defocus_u)


def run(*words: object) -> int:
    try:
        main(["simulate", *map(str, words)])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_shards_from_the_command_line(
    specimen: MapStates, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    map_file, star, out = tmp_path / "map.mrc", tmp_path / "bare.star", tmp_path / "out"
    write_map(map_file, specimen.volumes()[0], PIXEL)
    words = [map_file, "-n", 40, "-b", 32, "--snr-definition", "in-mask", "-o", out]
    assert run(*words, "--shard", "2/2") == 0
    assert "1 files of other shards are missing" in capsys.readouterr().out
    assert run(*words, "--shard", "1/2") == 0
    assert len(read_particles(out / "particles.star")) == 40
    star.write_text("data_\n\nloop_\n_rlnAngleRot #1\n_rlnDefocusU #2\n10 20000\n")
    nowhere = tmp_path / "nowhere"
    for more, message in [
        (["--dose", 20, "--snr", 0.1], "leave out --snr"),
        (["--dose", -1], "--dose -1"),
        (["--shard", "3/2"], "--shard 3/2"),
        (["--images-per-file", 0], "--images-per-file 0"),
        (["--weights", 1, 2], "one number"),
        (["--poses", star], "bare.star"),
        (["--selection", "A"], "these are maps"),
    ]:
        assert run(map_file, "-n", 4, *more, "-o", nowhere) == 2, more
        told = capsys.readouterr().err.strip().splitlines()
        assert len(told) == 1, told
        assert message in told[0]
        assert not nowhere.exists()

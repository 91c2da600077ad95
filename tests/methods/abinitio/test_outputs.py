"""What a run leaves: every later command reads the poses and maps that were found."""

import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vitreous.analysis.analyze import analyze
from vitreous.analysis.pose_page import write_pose_page
from vitreous.analysis.pose_scores import in_true_frame, score_poses
from vitreous.cli.main import main
from vitreous.errors import InputError
from vitreous.geometry.hand import mirror
from vitreous.maps import read_map
from vitreous.methods.abinitio.found import Found
from vitreous.methods.abinitio.outputs import write_found
from vitreous.metrics import pose_errors
from vitreous.metrics.truth import Truth
from vitreous.particles import read_particles
from vitreous.particles.peer_pickles import read_latent_pickle, read_pose_pickle
from vitreous.particles.stack import write_stack
from vitreous.reconstruction.volume_alignment import Alignment
from vitreous.simulation.blobs import PIXEL_SIZE, blob_set
from vitreous.training.run import Latents, Run

BOX, COUNT = 16, 12


@pytest.fixture
def blobs():
    return blob_set("rigid", COUNT, box=BOX)


def finished(folder, blobs, dimensions):
    """A run folder as a fit leaves it, from made-up maps."""
    write_stack(folder / "images.mrcs", blobs.source.images, PIXEL_SIZE)
    table = blobs.table.replace(stacks=(str(folder / "images.mrcs"),))
    table.to_star(folder / "particles.star")
    run = Run.create(
        folder / "run",
        {
            "method": "abinitio",
            "particles": {"path": folder / "particles.star"},
            "images": COUNT,
            "box": BOX,
            "pixel_size": PIXEL_SIZE,
            "normalization": [0.0, 2.0],
        },
    )
    rng = np.random.default_rng(0)
    maps = rng.standard_normal((dimensions + 3, BOX, BOX, BOX)).astype(np.float32)
    z = rng.standard_normal((COUNT, dimensions)).astype(np.float32)
    found = Found(
        rotation=blobs.rotation,
        shift=blobs.shift,
        volumes=maps[2:],
        half_maps=maps[:2],
        fsc=np.linspace(1, 0, BOX // 2),
        latents=Latents(z) if dimensions else None,
        score=np.arange(COUNT, dtype=np.float64),
        converged=True,
        verdict="converged: 95 % of poses stand still",
        history=[{"phase": "search", "band": 4, "score": 0.5}, {"phase": "refine", "band": 6}],
    )
    write_found(run, run.table(), found)
    return Run.open(run.path), found


def test_poses_are_read_back_by_every_way(tmp_path, blobs):
    run, found = finished(tmp_path, blobs, 0)
    other = read_particles(run.path / "particles_mirrored.star")
    for table in (run.table(), read_particles(run.path / "particles.star")):
        np.testing.assert_allclose(table.rotation, found.rotation, atol=1e-6)
        np.testing.assert_allclose(table.shift, found.shift, atol=1e-4)
        np.testing.assert_allclose(table.ctf.defocus_u, blobs.table.ctf.defocus_u, rtol=1e-6)
    errors = pose_errors(other.rotation, found.rotation, other.shift, found.shift)
    assert errors.is_mirrored
    assert errors.angle.max() < 1e-2
    rotation, shift = read_pose_pickle(run.path / "pose.pkl")
    np.testing.assert_allclose(rotation, found.rotation, atol=1e-6)
    np.testing.assert_allclose(shift * BOX * PIXEL_SIZE, found.shift, atol=1e-4)


def test_both_hands_are_written_and_said_to_be_open(tmp_path, blobs):
    run, found = finished(tmp_path, blobs, 0)
    volume = read_map(run.path / "volumes" / "consensus.mrc")
    assert volume.voxel_size == PIXEL_SIZE
    np.testing.assert_allclose(volume.data, found.volumes[0] * 2 * BOX, rtol=1e-6)
    np.testing.assert_array_equal(
        read_map(run.path / "volumes" / "consensus_mirrored.mrc").data, mirror(volume.data)
    )
    told = json.loads((run.path / "found.json").read_text())
    assert told["hand"].startswith("undetermined")
    assert told["converged"]
    # The curve falls to 0.143 in shell 6 of 16: 16 · 6 Å / 6.
    assert told["resolution"] == pytest.approx(16.0, abs=0.1)
    assert (run.path / "fsc.txt").is_file()


def test_a_map_alone_decodes_as_itself(tmp_path, blobs):
    run, found = finished(tmp_path, blobs, 0)
    assert run.config["zdim"] == 0
    volumes = run.decode(np.zeros((2, 0), np.float32))
    np.testing.assert_allclose(volumes, np.stack([found.volumes[0] * 2 * BOX] * 2), rtol=1e-6)
    assert not (run.path / "latents.npz").exists()


def test_latents_multiply_components(tmp_path, blobs):
    run, found = finished(tmp_path, blobs, 2)
    z = run.latents().mean
    mean, log_variance = read_latent_pickle(run.path / "z.2.pkl")
    np.testing.assert_array_equal(mean, z)
    assert log_variance is None
    expected = found.volumes[0] + np.einsum("mk,kxyz->mxyz", z, found.volumes[1:])
    np.testing.assert_allclose(run.decode(z), expected * 2 * BOX, rtol=2e-4, atol=2e-3)
    with pytest.raises(InputError, match="have 2 numbers, not 3"):
        run.decode(np.zeros((1, 3), np.float32))


def test_the_report_shows_what_was_found(tmp_path, blobs):
    """A run of one map has a page of its own; one with latents the usual report."""
    run, _ = finished(tmp_path, blobs, 0)
    page = write_pose_page(run).read_text()
    assert page.count("data:image/png") == 4
    assert "undetermined" in page
    assert "95 % of poses stand still" in page
    with pytest.raises(InputError, match=r"report\.html"):
        analyze(run)


def test_volumes_of_a_turned_and_mirrored_run_are_laid_into_the_true_frame():
    """Poses say how: no volume is compared to find it."""
    blobs = blob_set("rigid", COUNT, box=32)
    truth = Truth(rotation=blobs.rotation, shift=blobs.shift)
    alignment = Alignment(
        Rotation.random(random_state=3).as_matrix(), np.array([6.0, -3.0, 2.0]), True, 1.0
    )
    rotation, shift = alignment.poses(blobs.rotation, blobs.shift)
    table = blobs.table.replace(
        rotation=rotation.astype(np.float32), shift=shift.astype(np.float32)
    )
    turned = alignment.apply(blobs.volume(), PIXEL_SIZE)
    scores, back = score_poses(table, truth)
    assert scores["pose error, median (°)"] < 0.1
    assert scores["shift error, median (Å)"] < 0.01
    decode = in_true_frame(lambda z: np.stack([turned] * len(z)), back, PIXEL_SIZE)
    for volume in decode(np.zeros((2, 1))):
        assert np.corrcoef(volume.ravel(), blobs.volume().ravel())[0, 1] > 0.99


def test_volumes_are_generated_under_the_seeds_names(tmp_path, blobs):
    run, found = finished(tmp_path, blobs, 2)
    np.savetxt(tmp_path / "z.txt", [[0.5, 0.0], [0.0, 0.0]])
    words = ["generate-volumes", str(run.path), "-o", str(tmp_path / "out")]
    for more in (["--z", str(tmp_path / "z.txt"), "--resolution", "8"], []):
        main([*words, *more])
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["volume.0.mrc", "volume.1.mrc", "volume.mrc"]
    small = read_map(tmp_path / "out" / "volume.1.mrc")
    assert (small.data.shape, small.voxel_size) == ((8, 8, 8), 2 * PIXEL_SIZE)
    whole = read_map(tmp_path / "out" / "volume.mrc").data
    np.testing.assert_allclose(whole, found.volumes[0] * 2 * BOX, rtol=1e-6)
    with pytest.raises(SystemExit) as end:
        main([*words, "--resolution", "64"])
    assert end.value.code == 2

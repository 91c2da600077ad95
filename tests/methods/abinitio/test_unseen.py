"""Images that a run has never seen get their poses from its maps."""

import numpy as np

from vitreous.methods.abinitio.found import Found
from vitreous.methods.abinitio.outputs import write_found
from vitreous.metrics import pose_errors
from vitreous.particles import read_particles
from vitreous.particles.stack import write_stack
from vitreous.simulation.blobs import PIXEL_SIZE, blob_set
from vitreous.training.inputs import DataOptions
from vitreous.training.registry import evaluator
from vitreous.training.run import Latents, Run
from vitreous.training.unseen import write_unseen


def test_poses_of_new_images_are_found_in_the_frame_of_the_run(tmp_path):
    """Found without any global alignment: the frame is that of the map."""
    blobs = blob_set("rigid", 40, snr=5.0, seed=1, box=32)
    write_stack(tmp_path / "images.mrcs", blobs.source.images, PIXEL_SIZE)
    table = blobs.table.replace(stacks=(str(tmp_path / "images.mrcs"),))
    table.to_star(tmp_path / "particles.star")
    settings = {"method": "abinitio", "box": 32, "pixel_size": PIXEL_SIZE, "contrast": "white"}
    settings |= {"normalization": [0.0, 1.0], "shift_reach": 2.0, "max_shell": 8}
    run = Run.create(tmp_path / "run", settings)
    # A projection sums over voxels, the simulator integrates over Å.
    volume = (blobs.volume() * PIXEL_SIZE / 32)[None].astype(np.float32)
    found = Found(
        rotation=blobs.rotation,
        shift=blobs.shift,
        volumes=volume,
        half_maps=np.concatenate([volume, volume]),
        fsc=np.where(np.arange(16) < 7, 1.0, 0.0),
        latents=None,
        score=np.ones(40),
        converged=True,
        verdict="converged",
    )
    write_found(run, table, found)
    unseen = evaluator("abinitio")(run, tmp_path / "particles.star", DataOptions())
    assert unseen.latents is None
    turn = np.einsum("nij,nkj->nik", unseen.table.rotation, blobs.rotation)
    angle = np.rad2deg(np.arccos(np.clip((np.trace(turn, axis1=1, axis2=2) - 1) / 2, -1, 1)))
    # With this little noise the first nine shells tell poses to about two degrees.
    assert np.median(angle) < 3
    assert np.mean(angle < 10) > 0.9
    off = np.linalg.norm(unseen.table.shift - blobs.shift, axis=1) / PIXEL_SIZE
    assert np.median(off) < 0.15
    write_unseen(tmp_path / "new", unseen)
    again = read_particles(tmp_path / "new" / "particles.star")
    assert np.median(pose_errors(again.rotation, blobs.rotation).angle) < 3


def test_all_tilts_of_new_particles_tell_pose_and_latent(tmp_path):
    tilts = (0.0, 30.0, -30.0, 50.0, -50.0)
    blobs = blob_set("hinge", 60, snr=0.3, seed=2, box=32, tilts=tilts)
    write_stack(tmp_path / "images.mrcs", blobs.source.images, PIXEL_SIZE)
    table = blobs.table.replace(stacks=(str(tmp_path / "images.mrcs"),))
    table.to_star(tmp_path / "particles.star")
    settings = {"method": "abinitio", "box": 32, "pixel_size": PIXEL_SIZE, "contrast": "white"}
    settings |= {"normalization": [0.0, 1.0], "shift_reach": 2.0, "max_shell": 8, "zdim": 4}
    run = Run.create(tmp_path / "run", settings)
    # The true landscape: latents are coordinates of the true maps.
    angles = np.linspace(-60, 60, 25)
    maps = np.stack([blobs.volume(a) for a in angles]).reshape(25, -1) * PIXEL_SIZE / 32
    mean = maps.mean(axis=0)
    axes = np.linalg.svd(maps - mean, full_matrices=False)[2][:4]
    first = np.arange(60) * len(tilts)
    seen = np.stack([blobs.volume(a) for a in blobs.angle[first]]).reshape(60, -1)
    truth = (seen * PIXEL_SIZE / 32 - mean) @ axes.T
    volumes = np.stack([mean, *axes]).reshape(5, 32, 32, 32).astype(np.float32)
    found = Found(
        rotation=blobs.rotation,
        shift=blobs.shift,
        volumes=volumes,
        half_maps=volumes[[0, 0]],
        fsc=np.where(np.arange(16) < 7, 1.0, 0.0),
        latents=Latents(truth.astype(np.float32)),
        score=np.ones(300),
        converged=True,
        verdict="converged",
    )
    write_found(run, table, found)
    unseen = evaluator("abinitio")(run, tmp_path / "particles.star", DataOptions())
    assert unseen.latents.mean.shape == (60, 4)
    turn = np.einsum("nij,nkj->nik", unseen.table.rotation, blobs.rotation)
    angle = np.rad2deg(np.arccos(np.clip((np.trace(turn, axis1=1, axis2=2) - 1) / 2, -1, 1)))
    # The first images alone leave 9.4° and a correlation of 0.89.
    assert np.median(angle) < 6
    assert np.corrcoef(unseen.latents.mean[:, 0], truth[:, 0])[0, 1] > 0.94
    # The stage turned as it did: images of a particle keep their places to each other.
    views = unseen.table.rotation.reshape(60, 5, 3, 3)
    stage = views @ views[:, :1].transpose(0, 1, 3, 2)
    true = blobs.rotation.reshape(60, 5, 3, 3)
    np.testing.assert_allclose(stage, true @ true[:, :1].transpose(0, 1, 3, 2), atol=1e-4)

"""A small run to show: images of a hinge, and a subspace run put together from their truth.

A fit would take longer than all that the page is asked.
"""

from pathlib import Path

import numpy as np

from vitreous.metrics.truth import read_truth
from vitreous.simulation.particles import ParticleOptions, simulate_particles
from vitreous.simulation.phantom import hinge_phantom
from vitreous.simulation.specimen import HingeMotion
from vitreous.training.position import Position
from vitreous.training.run import Latents, Run

COUNT, SIDE, PIXEL_SIZE = 240, 32, 6.4


def hinge_run(folder: Path) -> Run:
    """Make a run whose first latent is the hinge's angle and whose second is how far it bends."""
    specimen = HingeMotion(hinge_phantom(), box=SIDE, pixel_size=PIXEL_SIZE, states=4)
    simulate_particles(specimen, folder / "particles", ParticleOptions(count=COUNT, snr=1.0))
    truth = read_truth(folder / "particles" / "truth.npz")
    assert truth.volumes is not None
    assert truth.labels is not None
    volumes = np.asarray(truth.volumes, np.float32) / SIDE
    mean = volumes.mean(axis=0)
    left, scale, right = np.linalg.svd((volumes - mean).reshape(len(volumes), -1), False)
    scores = (left * scale)[:, :2] / scale[0]
    components = (scale[0] * right[:2]).reshape(2, *mean.shape)
    spread = np.random.default_rng(0).normal(scale=0.08, size=(COUNT, 2))
    run = Run.create(
        folder / "run",
        {
            "method": "subspace",
            "particles": {"path": str(folder / "particles" / "particles.star")},
            "images": COUNT,
            "latents_of": "images",
            "box": SIDE,
            "pixel_size": PIXEL_SIZE,
            "normalization": [0.0, 1.0],
            "contrast": "white",
            "zdim": 2,
        },
    )
    run.save_latents(Latents((scores[truth.labels] + spread).astype(np.float32)), 1)
    state = {"volumes": np.stack([mean, *components]).astype(np.float32), "consensus": mean}
    run.checkpoints.save(state, Position(1, 0, 1, 0, 1, COUNT))
    return run

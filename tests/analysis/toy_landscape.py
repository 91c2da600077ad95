"""A run whose decoder is known: a still ball, and a second one that moves with the latent."""

import numpy as np

from vitreous.training import registry
from vitreous.training.checkpoint import Position
from vitreous.training.run import Latents, Run

BOX = 24


def ball(x, y, z, sigma=2.5, box=BOX):
    """Draw a Gaussian ball at `(x, y, z)`, voxels from the centre of the box."""
    c = np.arange(box) - box // 2
    kernel = [np.exp(-((c - p) ** 2) / (2 * sigma**2)) for p in (z, y, x)]
    return np.einsum("i,j,k->ijk", *kernel).astype(np.float32)


def toy_volume(z):
    """Move the second ball about the first: `z[0]` along x, `z[1]` (if any) along y."""
    y = z[1] if len(z) > 1 else 0.0
    return ball(-4, -3, 0, 3.5) + ball(4 + 1.5 * z[0], 3 + 1.5 * y, 0)


def load_decoder(run, epoch):
    """Do what a method's entry in the registry does."""
    return lambda z: np.stack([toy_volume(row) for row in np.asarray(z)])


def toy_run(folder, monkeypatch, count=120, dimensions=3, epochs=(1, 4)):
    """Make a run folder with latents on a line of known order, checkpoints and metrics."""
    monkeypatch.setitem(registry.METHODS, "toy", "toy_landscape:load_decoder")
    config = {"method": "toy", "images": count, "box": BOX, "pixel_size": 2.0}
    run = Run.create(folder, config)
    rng = np.random.default_rng(0)
    z = 0.1 * rng.standard_normal((count, dimensions)).astype(np.float32)
    z[:, 0] += np.linspace(-2, 2, count)
    for epoch in epochs:
        position = Position(epoch, 0, 10 * epoch, 0, 8, count)
        run.checkpoints.save({"scale": np.ones(1, np.float32)}, position)
        run.save_latents(Latents(z, np.zeros_like(z)), epoch)
    lines = [
        f'{{"epoch": {e}, "step": {e}, "images": 10, "seconds": {e}.0, "loss": {1 / e}{mean}}}\n'
        for e in range(1, 5)
        for mean in ("", ', "epoch_mean": true')
    ]
    (run.path / "metrics.jsonl").write_text("".join(lines))
    return run

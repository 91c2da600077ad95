"""Fit the toy set in one of several processes: `toy_processes.py FOLDER`, under `launch`.

`resident` stops after its first epoch; `streamed` runs to its end; `begun` goes on with what one
process began. All images are backprojected, a run of a linear model is asked about them, and two
fields that move are compared.
"""

import sys
from dataclasses import asdict
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from toy import ToyMethod, ToySource, toy_table

from vitreous.cli.common import start_jax
from vitreous.methods.flexible.agreement import compare_halves
from vitreous.methods.flexible.balance import Balance
from vitreous.methods.flexible.deformation import make_deformation
from vitreous.methods.flexible.gaussian_model import GaussianModel
from vitreous.methods.flexible.state import FlexibleState, Moving, stacked
from vitreous.methods.subspace.config import SubspaceConfig
from vitreous.methods.subspace.decode import STATE_FILE
from vitreous.particles.loader import PreparedImages
from vitreous.particles.stack import write_stack
from vitreous.reconstruction.reconstruct import reconstruct
from vitreous.training.distributed import initialise, wait_for_end
from vitreous.training.evaluate import map_images
from vitreous.training.fit import FitOptions, fit
from vitreous.training.inputs import DataOptions
from vitreous.training.mesh import data_mesh
from vitreous.training.registry import evaluator
from vitreous.training.run import Run

COUNTS = {"resident": 48, "streamed": 45, "begun": 48}


def fit_toy(folder: Path, way: str, epochs: int, mesh) -> list[np.ndarray]:
    """Fit, or go on with a fit; the leaves of the last state."""
    count = COUNTS[way]
    data = PreparedImages.build(
        toy_table(count), ToySource(count), resident=way != "streamed", mesh=mesh
    )
    made = (folder / "config.yaml").exists()
    run = Run.open(folder) if made else Run.create(folder, {"method": "toy", "images": count})
    options = FitOptions(epochs=epochs, batch_size=16, log_every=2, quiet=True)
    state = fit(ToyMethod(count, len(data.pixels)), data, run, options)
    index = map_images(lambda p, batch: batch.index, None, data, 16)
    assert np.array_equal(index, np.arange(count))
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state._replace(activation=None))]


def backproject_toy() -> np.ndarray:
    """Reconstruct the toy images, whose rotations are all the same."""
    return reconstruct(toy_table(45), ToySource(45), half_maps=False, chunk=8).volume


def write_toy_model(folder: Path) -> None:
    """Leave a run with a mean of nothing and a component of noise, and images to ask it of."""
    config = SubspaceConfig(zdim=1, max_shell=3, batch_size=16)
    # About as strong as the noise of the images: these tell latents, but not surely.
    volumes = 0.03 * np.random.default_rng(7).normal(size=(2, 8, 8, 8)).astype(np.float32)
    volumes[0] = 0
    toy = {"box": 16, "pixel_size": 2.0, "normalization": [5.0, 2.0], "particles": {}}
    run = Run.create(
        folder / "model",
        {"method": "subspace", "contrast": "white", "subspace": asdict(config), **toy},
    )
    np.savez(run.path / STATE_FILE, volumes=volumes, noise=np.ones((1, 4), np.float32))
    write_stack(folder / "toy.mrcs", ToySource(45).images, 2.0)
    table = toy_table(45)
    table = table.replace(stacks=(str(folder / "toy.mrcs"),), shift=table.shift / 10)
    table.to_star(folder / "toy.star")


def evaluate_toy(folder: Path) -> np.ndarray:
    """Ask the run of a linear model for the latents of the toy images, read as they are needed."""
    data = DataOptions(lazy=True)
    return evaluator("subspace")(Run.open(folder / "model"), folder / "toy.star", data).latents.mean


def compare_toy() -> np.ndarray:
    """Compare what two half sets' fields make of the images."""
    points = np.random.default_rng(8).normal(size=(9, 3))
    gaussians = GaussianModel.of(points, np.ones(9), np.ones(9))
    halves = [
        Moving(
            gaussians, make_deformation("factorised", 1, 1.0, 1.0, key, modes=4, width=4, depth=1)
        )
        for key in jax.random.split(jax.random.key(2))
    ]
    none = jnp.zeros((45, 1))
    state = FlexibleState(stacked(*halves), (), none, None, Balance.begin(2), jnp.ones((1, 4)))
    z = np.linspace(-1, 1, 45, dtype=np.float32)[:, None]
    found = compare_halves(state, z, z * z)
    whole = [found.correlation, found.error]
    return np.concatenate([whole, found.particle_error, found.gaussian_error]).astype(np.float32)


if __name__ == "__main__":
    start_jax()
    initialise()
    fit_toy(Path(sys.argv[1]) / "resident", "resident", 1, data_mesh())
    leaves = fit_toy(Path(sys.argv[1]) / "streamed", "streamed", 2, data_mesh())
    leaves.append(backproject_toy())
    leaves.append(evaluate_toy(Path(sys.argv[1])))
    leaves.append(compare_toy())
    if (Path(sys.argv[1]) / "begun").exists():
        leaves += fit_toy(Path(sys.argv[1]) / "begun", "begun", 2, data_mesh())
    # Every process holds the whole of the last state.
    np.savez(Path(sys.argv[1]) / f"streamed.{jax.process_index()}.npz", *leaves)
    # At the end JAX waits for the others, but not for long.
    wait_for_end()

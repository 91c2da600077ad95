"""What trials of flexible fits share: the user's command, and what the images can tell at best.

The limits take the true molecule, its true motion and poses or angles: no fit knows as much.
"""

import resource
import subprocess
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import spearmanr

from vitreous.methods.flexible.gaussian_model import GaussianModel
from vitreous.methods.flexible.model import FlexibleMethod
from vitreous.methods.flexible.posed import Posing
from vitreous.methods.flexible.run_files import load_state
from vitreous.methods.flexible.state import FlexibleState, Moving
from vitreous.particles import ImageSource
from vitreous.particles.loader import PreparedImages
from vitreous.simulation.hinges import HingeSet
from vitreous.training.evaluate import map_images
from vitreous.training.inputs import DataOptions, prepared_images, read_checked
from vitreous.training.run import Run

# Angles that are tried, a degree: posteriors are some 1.8° wide.
STEPS = 2
# Times that a pose is improved.
POSE_STEPS = 5


def timed_command(words: list[str]) -> tuple[float, float]:
    """Run a command; returns wall and processor seconds."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "vitreous.cli.main", *words], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - began, spent


class Truth:
    """Hold the true molecule in the units of a run's images, and these images."""

    def __init__(self, run: Run, truth: HingeSet) -> None:
        self.truth = truth
        self.method, self.state = load_state(run)
        self.data = _images_of(run, self.method)
        self.model = self._model(self.method, self.state)

    def _model(self, method: FlexibleMethod, state: FlexibleState) -> Moving:
        """Take the learned consensus' mass: how images are scaled is no part of the truth."""
        mass = float(np.exp(np.asarray(state.model.gaussians.log_amplitude)).sum(1).mean())
        position, hinge = self.truth.position, self.truth.hinge
        atoms = len(position)
        gaussians = GaussianModel.of(
            position, np.full(atoms, mass / atoms), np.full(atoms, hinge.sigma)
        )
        return Moving(gaussians, self.truth.field)  # type: ignore[arg-type]

    def angles(self, spread: float) -> np.ndarray:
        """Return the mean of every angle's posterior, angles being even within ± so many degrees.

        Poses are those of the run's particles, without corrections.
        """
        grid = np.linspace(-spread, spread, int(2 * spread * STEPS) + 1)

        def energies(given, batch):
            model, noise, grid = given
            seen = self.method.images.see(batch, noise)
            predict = self.method.images.predict(model, seen)

            def at(angle):
                left = seen.observed - predict(jnp.full((len(seen.observed), 1), angle))
                return 0.5 * jnp.sum(left.real**2 + left.imag**2, axis=1)

            return jax.lax.map(at, grid).T

        given = (self.model, self.state.noise, jnp.asarray(grid, jnp.float32))
        energy = np.asarray(map_images(energies, given, self.data, 64), np.float64)
        share = np.exp(energy.min(1, keepdims=True) - energy)
        return share @ grid / share.sum(1)

    def corrections(self, spread: tuple[float, float]) -> np.ndarray:
        """Return the likeliest corrections of all poses, the angles being known."""
        angle = jnp.asarray(self.truth.angle[:, None], jnp.float32)
        images, field, at_rest = self.method.images, self.truth.field, jnp.zeros(())

        def better(given, batch):
            model, noise, angle = given
            known = lambda points, z: field(points, z + angle[batch.index])  # noqa: E731
            posing = Posing(images, batch, noise, spread, 1.0)
            none, off = jnp.zeros((len(batch.index), 1)), jnp.zeros((len(batch.index), 5))
            model = Moving(model.gaussians, known)  # type: ignore[arg-type]
            return jax.lax.fori_loop(
                0,
                POSE_STEPS,
                lambda _, off: posing.improve(model, none, off, at_rest, jax.random.key(0)).poses,
                off,
            )

        return map_images(better, (self.model, self.state.noise, angle), self.data, 64)


def angle_limits(run: Run, truth: HingeSet, spread: float) -> list[dict[str, Any]]:
    """Say how near each half's images come to their angles and displacements at best."""
    known = Truth(run, truth)
    found = known.angles(spread)
    rows = []
    for half in range(2):
        own = known.method.half == half
        moved, real = (truth.displacement(x[own])[:, truth.moving] for x in (found, truth.angle))
        off = (moved - moved.mean(0)) - (real - real.mean(0))
        rmse = float(np.sqrt(np.mean(np.sum(off**2, axis=-1)))) / known.method.pixel_size
        angle = float(spearmanr(found[own], truth.angle[own])[0])
        rows.append({"half": half + 1, "angle": angle, "rmse": rmse})
    return rows


def _images_of(run: Run, method: FlexibleMethod) -> PreparedImages:
    table = read_checked(run.config["particles"])
    how = run.config["contrast"], run.config["normalization"]
    return prepared_images(table, ImageSource(table), DataOptions(), method.pixels, *how)

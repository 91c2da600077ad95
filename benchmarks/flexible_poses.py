"""Poses with errors of 3° and 2 pixels, refined while a hinge is found.

    python benchmarks/flexible.py --test poses [-o FILE]

Images are those of the trial of finding a motion at an SNR of 3: at 0.5 they tell turns no better
than to 2.5°, the true molecule and every image's angle being known. That limit is given beside.
Turns are compared about all axes, up to one turn of the whole molecule, and told apart into what
goes with the hinge's angle (the frame that conformations are laid out in) and the rest.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flexible_trials import Truth, timed_command
from record import print_table
from scipy.spatial.transform import Rotation

from vitreous.methods.flexible.run_files import load_flexible
from vitreous.particles.table import ParticleTable
from vitreous.reconstruction.pose_correction import Pose, corrected_pose
from vitreous.simulation.hinges import FINDING, HingeSet, hinge_set, write_hinge_set
from vitreous.training.run import Run

TRIAL = replace(FINDING, snr=3.0)
# Errors planted: degrees about any axis, pixels any way; and how large they are said to be.
TURNED, MOVED, SPREAD = 3.0, 2.0, (2.0, 6.0)


def poses(folder: Path, epochs: int, words: list[str]) -> dict[str, Any]:
    """Plant errors in the poses of the trial set, refine them in a fit, and measure them."""
    images = folder / "set-poses"
    truth = hinge_set(TRIAL)
    planted = plant_errors(write_hinge_set(images, TRIAL), np.random.default_rng(1))
    planted.to_star(images / "planted.star")
    out = folder / "run-poses"
    command = ["optimize-deformations", str(images / "planted.star"), str(out), "--refine-poses"]
    command += ["--n-latent-dims", "2", "--n-gaussians", "200", "-n", str(epochs)]
    command += ["--pose-spread", *map(str, SPREAD), "--overwrite", "--no-analysis", *words]
    wall, spent = timed_command(command)
    run = Run.open(out)
    corrections = load_flexible(run).poses
    assert corrections is not None
    best = Truth(run, truth).corrections(SPREAD)
    rows = []
    for name, off in (("planted", 0 * best), ("refined", corrections), ("limit", best)):
        given = Pose(jnp.asarray(planted.rotation), jnp.asarray(planted.shift))
        rows.append({"poses": name, **pose_errors(truth, corrected_pose(*given, jnp.asarray(off)))})
    print_table(rows, list(rows[0]))
    print(f"{wall:.0f} s, {spent:.0f} s of processor time")
    return {"rows": rows, "seconds": wall, "cpu_seconds": spent}


def plant_errors(table: ParticleTable, rng: np.random.Generator) -> ParticleTable:
    """Turn poses and move them, in any direction."""

    def directions(axes: int) -> np.ndarray:
        drawn = rng.normal(size=(len(table), axes))
        return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)

    off = np.concatenate([TURNED * directions(3), MOVED * TRIAL.pixel_size * directions(2)], axis=1)
    pose = corrected_pose(
        jnp.asarray(table.rotation), jnp.asarray(table.shift), jnp.asarray(off, jnp.float32)
    )
    return table.replace(rotation=np.asarray(pose.rotation), shift=np.asarray(pose.shift))


def pose_errors(truth: HingeSet, pose: Pose) -> dict[str, float]:
    """Compare poses with the true ones; `with_angle`: of the turns, what goes with the hinge's."""
    table = truth.table
    turn = np.einsum("bji,bjk->bik", np.asarray(table.rotation), np.asarray(pose.rotation))
    common = Rotation.from_matrix(turn).mean().as_matrix()
    vector = np.rad2deg(Rotation.from_matrix(turn @ common.T).as_rotvec())
    waves = np.polynomial.legendre.legvander(truth.angle / TRIAL.spread, 3)
    told = waves @ np.linalg.lstsq(waves, vector, rcond=None)[0]
    moved = (np.asarray(pose.shift) - np.asarray(table.shift)) / TRIAL.pixel_size

    def rms(x: np.ndarray) -> float:
        return round(float(np.sqrt(np.mean(np.sum(x**2, axis=1)))), 2)

    return {"degrees": rms(vector), "with_angle": rms(told), "pixels": rms(moved)}

"""Undoing motion measured: gain with the true and the learned field, what it costs, and memory.

    python benchmarks/deformed_backprojection.py [known] [learned] [rigid] [speed] [memory]
        [antibody] [--epochs 12] [--antibody-set FOLDER --antibody-run RUN] [-o FILE]

`known`: the trial of 1,000 images of a hinge (`simulation.hinges.UNDOING`): frequency at which the
FSC with the true map falls to 0.5 inside the domain that moves, before and after, beside that of
as many images of a rigid molecule; the same with conjugate gradients. `learned`: the same with a
field that `optimize-deformations` learns. `rigid`: what a learned field costs a rigid molecule.
`speed`: processor seconds an image at 96 pixels. `memory`: what the compiled step of a fit asks for
with 30,000 Gaussians, 128 images of 256 pixels. `antibody`: a run on a set with truth (`vols`, `t`,
`labels`): FSC with the map of the state the consensus is nearest to, in the part that moves. A map
of all states holds each of them, fainter, and FSC does not see how faint: beside the shell of FSC
0.5 stand the mean FSC from shell 4 on, both of the true states' mean, which has no noise, and the
share of a mask's power that is density of what rests.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from record import machine, print_table, write_json

from vitreous.cli.common import start_jax
from vitreous.imaging.gaussians import GaussianAtoms, gaussian_map
from vitreous.methods.flexible.config import FlexibleConfig
from vitreous.methods.flexible.deformation import make_deformation
from vitreous.methods.flexible.fit import optimize_deformations
from vitreous.methods.flexible.undoing.backproject import BackprojectOptions, backproject_run
from vitreous.metrics import read_truth
from vitreous.reconstruction.backprojection import full_geometry
from vitreous.reconstruction.deformed import (
    DeformedSettings,
    FieldOnSupport,
    MovedImages,
    judge,
    reconstruct_deformed,
    support_near,
)
from vitreous.reconstruction.deformed.regions import soft_region
from vitreous.reconstruction.deformed.streaming import sum_moved
from vitreous.reconstruction.fsc import crossing, fourier_shell_correlation
from vitreous.reconstruction.reconstruct import image_columns
from vitreous.reconstruction.streaming import sum_images
from vitreous.simulation.hinges import UNDOING, HingeTrial, hinge_set, write_hinge_set
from vitreous.training.run import Run

COLUMNS = ["what", "moving", "resting", "ratio", "mean_fsc", "cpu_seconds"]


def domains(trial, moving: bool) -> np.ndarray:
    """Make a soft mask around the pseudo-atoms that turn, or those that rest."""
    places = trial.position[trial.moving == moving].astype(np.float32)
    ones = np.ones((len(places), 1), np.float32)
    atoms = GaussianAtoms(places, ones, ones * trial.hinge.sigma**2)
    motion = trial.motion
    density = np.asarray(gaussian_map(atoms, motion.box, motion.pixel_size, sampling="point"))
    return soft_region(density > 0.1 * density.max())


def reached(truth: np.ndarray, volume: np.ndarray, mask: np.ndarray) -> float:
    """Return the shell where the FSC with the truth falls to 0.5, inside a mask."""
    first, second = jnp.asarray(truth * mask), jnp.asarray(np.asarray(volume) * mask)
    curve = np.asarray(fourier_shell_correlation(first, second))
    shell = crossing(curve, 0.5)
    return float(len(curve)) if shell is None else shell


def mean_fsc(truth: np.ndarray, volume: np.ndarray, mask: np.ndarray) -> float:
    """Return the mean FSC with the truth inside a mask, from shell 4 on."""
    first, second = jnp.asarray(truth * mask), jnp.asarray(np.asarray(volume) * mask)
    return float(np.mean(np.asarray(fourier_shell_correlation(first, second))[4:]))


def compared(name: str, trial, made, seconds: float) -> list[dict]:
    """Give two rows: before, and after with the ratio to before."""
    truth, masks = trial.volume(), [domains(trial, moving) for moving in (True, False)]
    before, after = (
        [reached(truth, one.volume, mask) for mask in masks] for one in (made.plain, made.deformed)
    )
    rows = [
        {"what": f"{name}, plain", "moving": round(before[0], 2), "resting": round(before[1], 2)}
    ]
    rows.append(
        {
            "what": f"{name}, undone",
            "moving": round(after[0], 2),
            "resting": round(after[1], 2),
            "ratio": round(after[0] / before[0], 3),
            "verdict": judge(made).line,
            "cpu_seconds": round(seconds, 1),
        }
    )
    return rows


def halves(trial, share: float = 1.0) -> list[MovedImages]:
    """Give both half sets the true field."""
    z = trial.angle[:, None] * np.float32(share)
    rows = [np.flatnonzero(trial.table.half_set == half) for half in (0, 1)]
    return [MovedImages(r, z[r], trial.field) for r in rows]


def known() -> list[dict]:
    """Undo the true motion; the field of zeros; a rigid molecule."""
    trial, rows = hinge_set(UNDOING), []
    reach = 4 * UNDOING.sigma
    near = support_near(trial.position, UNDOING.box, UNDOING.pixel_size, reach, reach / 2)
    for name, share, iterations in (
        ("field of zeros", 0.0, 0),
        ("true field", 1.0, 0),
        ("true field, 3 CG steps", 1.0, 3),
    ):
        began = time.process_time()
        settings = DeformedSettings(iterations=iterations)
        fields = halves(trial, share)
        made = reconstruct_deformed(trial.table, trial.source, fields, [near, near], settings)
        rows += compared(name, trial, made, time.process_time() - began)
        if not share:
            plain, same = np.asarray(made.plain.volume), np.asarray(made.deformed.volume)
            rows[-1]["relative_difference"] = float(np.abs(same - plain).max() / plain.max())
    still = hinge_set(replace(UNDOING, spread=0.0))
    made = reconstruct_deformed(still.table, still.source, halves(still), [near, near])
    return [*rows, compared("rigid molecule", still, made, 0.0)[0]]


def learned(trial: HingeTrial, name: str, epochs: int) -> list[dict]:
    """Learn the field from a set's images, then undo it."""
    truth = hinge_set(trial)
    with tempfile.TemporaryDirectory() as folder:
        write_hinge_set(Path(folder) / "set", trial)
        began = time.process_time()
        config = FlexibleConfig(
            gaussians=200, zdim=2, modes=8, max_shell=11, epochs=epochs, warmup=1
        )
        run = optimize_deformations(
            Path(folder) / "set" / "particles.star", Path(folder) / "run", config
        )
        fitted = time.process_time() - began
        began = time.process_time()
        made, _ = backproject_run(run, BackprojectOptions())
        rows = compared(name, truth, made, time.process_time() - began)
    rows[-1]["fit_cpu_seconds"] = round(fitted, 1)
    return rows


def speed() -> list[dict]:
    """Time the gathering of 64 images of 96 pixels, modes of a network at the voxels."""
    trial = replace(UNDOING, box=96, pixel_size=1.25, count=64, pivot=1.0)
    made = hinge_set(trial)
    near = support_near(made.position, 96, 1.25, 10.0, 4.0)
    field = make_deformation("factorised", 4, 40.0, 3.0, jax.random.key(0), modes=32)
    latents = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
    moved = MovedImages(np.arange(64), latents, field)
    geometry, columns = full_geometry(96, 1.25), image_columns(made.table)
    evaluated = FieldOnSupport(moved, near)
    rows = []
    for name, work in (
        ("gathered", lambda: sum_moved(made.source, columns, moved, evaluated, geometry)),
        ("inserted", lambda: sum_images(made.source, columns, geometry)),
    ):
        work()
        cpu, wall = time.process_time(), time.perf_counter()
        work()
        rows.append(
            {
                "what": f"{name}, 96 pixels, {len(near.index) / 96**3:.0%} of the box",
                "cpu_seconds": round((time.process_time() - cpu) / 64, 5),
                "wall_seconds": round((time.perf_counter() - wall) / 64, 5),
            }
        )
    return rows


def memory() -> list[dict]:
    """Compile the step of a fit at full size, without running it, and read what it asks for."""
    from vitreous.methods.flexible.gaussian_model import GaussianModel
    from vitreous.methods.flexible.model import FlexibleMethod
    from vitreous.methods.flexible.start import Start

    count, batch, box, images = 30_000, 128, 256, 100_000
    rng = np.random.default_rng(0)
    places = rng.normal(size=(count, 3)).astype(np.float32) * 30
    gaussians = GaussianModel(jnp.asarray(places), jnp.zeros(count), jnp.full(count, 0.6))
    edges = rng.integers(0, count, (6 * count, 2)).astype(np.int32)
    shell = (box - 1) // 2
    start = Start(gaussians, edges, np.ones((1, shell + 1), np.float32), shell, 80.0, 5.0)
    from vitreous.geometry.fourier_pixels import FourierPixels

    pixels = FourierPixels(box, shell)
    half = (np.arange(images) % 2).astype(np.int32)
    config = FlexibleConfig(batch_size=batch)
    method = FlexibleMethod(config, start, pixels, 1.0, half, np.zeros(images, np.int32))
    state = jax.eval_shape(method.init, jax.random.key(0))
    given = jax.eval_shape(lambda: _batch(batch, len(pixels)))
    key, progress = jax.eval_shape(lambda: (jax.random.key(0), jnp.float32(0.5)))
    compiled = jax.jit(method.step).lower(state, given, key, progress).compile()
    sizes = compiled.memory_analysis()
    return [
        {
            "what": f"step of a fit, {count} Gaussians, {batch} images of {box} pixels",
            "working_gib": round(sizes.temp_size_in_bytes / 2**30, 3),
            "arguments_gib": round(sizes.argument_size_in_bytes / 2**30, 3),
        }
    ]


def _batch(size: int, pixels: int):
    from vitreous.imaging.ctf import CTFParameters
    from vitreous.particles.prepare import Batch

    one = jnp.ones(size)
    return Batch(
        jnp.zeros((size, pixels), jnp.complex64),
        jnp.zeros((size, 3, 3)),
        jnp.zeros((size, 2)),
        one,
        CTFParameters(*[one] * len(CTFParameters._fields)),
        jnp.zeros(size, jnp.int32),
        one,
    )


def antibody(folder: Path, run: Path) -> list[dict]:
    """Compare a run's maps with the true states of its set, in the part that truly moves."""
    truth = read_truth(folder / "truth.npz")
    maps = np.asarray(truth.volumes)
    # What a state has and some other has not: its own place of the part that moves.
    rest = maps.min(0)
    masks = [soft_region(one > 0.3 * one.max()) for one in maps - rest]
    resting = [
        float(np.sum((rest * mask) ** 2) / np.sum((one * mask) ** 2))
        for one, mask in zip(maps, masks, strict=True)
    ]
    began = time.process_time()
    made, verdict = backproject_run(Run.open(run), BackprojectOptions())
    seconds = time.process_time() - began
    shown = {
        "plain": made.plain.volume,
        "undone": made.deformed.volume,
        "mean of the true states": maps.mean(0),
    }
    shells, means = np.zeros((2, len(shown), len(maps)))
    for k, volume in enumerate(shown.values()):
        for s, (one, mask) in enumerate(zip(maps, masks, strict=True)):
            shells[k, s] = reached(one, volume, mask)
            means[k, s] = mean_fsc(one, volume, mask)
    # The consensus is a state of its own: the true one it resembles most is its truth.
    state = int(np.argmax(means[1]))
    rows: list[dict] = [
        {"what": f"antibody, {name}", "moving": round(float(shells[k, state]), 2), "state": state,
         "mean_fsc": round(float(means[k, state]), 3),
         "all_states": np.round(shells[k], 2).tolist(),
         "mean_fsc_of_all_states": np.round(means[k], 3).tolist()}
        for k, name in enumerate(shown)
    ]  # fmt: skip
    rows[0]["resting_share_of_masks"] = np.round(resting, 3).tolist()
    rows[1] |= {"ratio": round(rows[1]["moving"] / rows[0]["moving"], 3), "verdict": verdict.line,
                "cpu_seconds": round(seconds, 1)}  # fmt: skip
    return rows


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = ["known", "learned", "rigid", "speed", "memory", "antibody"]
    parser.add_argument("parts", nargs="*", choices=[*parts, []], default=parts[:-1])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--antibody-set", type=Path)
    parser.add_argument("--antibody-run", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    asked = parser.parse_args()
    start_jax()
    rows: list[dict] = []
    for part in asked.parts:
        if part == "known":
            rows += known()
        elif part == "learned":
            rows += learned(UNDOING, "learned field", asked.epochs)
        elif part == "rigid":
            rows += learned(replace(UNDOING, spread=0.0), "rigid, learned field", asked.epochs)
        elif part == "speed":
            rows += speed()
        elif part == "memory":
            rows += memory()
        elif asked.antibody_set is None or asked.antibody_run is None:
            parser.error("antibody needs --antibody-set and --antibody-run")
        else:
            rows += antibody(asked.antibody_set, asked.antibody_run)
        print_table(rows, COLUMNS)
    write_json(asked.output, "deformed_backprojection", {"machine": machine(), "rows": rows})


if __name__ == "__main__":
    main()

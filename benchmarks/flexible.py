"""Gaussians that move, measured by the user's command: the trial of finding a motion, and igg-64.

    python benchmarks/flexible.py [--test finding poses igg rendering] [--seeds 0 1 2] [-o FILE]

`finding`: 480 images of 32 pixels of a molecule on a hinge, angles even within ±25°, SNR 0.5. The
command is given the particles alone and starts from nothing else. Each half set's model is asked
for the latents of its own images and, with its decoder frozen, of the other half's; the angle is
told from latents by the first principal component of the displacements they give, so nothing is
fitted to the truth. Displacements are those of the true pseudo-atoms that turn, about their mean.
A seed is that of angles, poses and noise of the set, and of the fit.

`igg`: the real shape. 2,000 images of 64 pixels of an antibody whose Fab turns all the way round.

`rendering`: milliseconds an image of each way to draw Gaussians, with the gradient, in boxes up to
`--largest`; the largest difference from matrix products, and which way is chosen.

`poses`: the first set with errors of 3° and 2 pixels planted in its poses, fitted with
`--refine-poses`; errors before and after, of turns (about all axes) and shifts.

Wall and processor time are both given: the first depends on what else the machine does.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from record import machine, print_table, write_json
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation
from scipy.stats import spearmanr

from vitreous.methods.flexible.gaussian_model import GaussianModel
from vitreous.methods.flexible.rendering import Renderer
from vitreous.methods.flexible.run_files import FlexibleModel, load_flexible
from vitreous.particles.table import ParticleTable
from vitreous.reconstruction.pose_correction import Pose, corrected_pose
from vitreous.simulation.hinges import FINDING, HingeSet, hinge_set, write_hinge_set
from vitreous.training.run import Run

# Box, outermost shell and number of Gaussians that are drawn; bounds of their widths, Å.
RENDERED = ((32, 11, 200), (64, 20, 1500), (128, 40, 8000), (256, 80, 30000))
WIDTHS = (2.0, 8.0)
IGG = Path(__file__).parents[2] / "shared" / "data" / "particles" / "igg-64"


def timed_command(words: list[str]) -> tuple[float, float]:
    """Run a command; returns wall and processor seconds."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "vitreous.cli.main", *words], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - began, spent


def half_scores(
    truth: HingeSet, model: FlexibleModel, half: int, latents: np.ndarray, rows: np.ndarray
) -> dict[str, float]:
    """Compare one half's field at some images' latents with the truth; pixels."""
    field = model.halves[half].deformation
    points = jnp.asarray(truth.position, jnp.float32)
    found = np.asarray(jax.jit(lambda z: field(points, z))(jnp.asarray(latents[rows])))
    real = truth.displacement(truth.angle[rows])
    off = found - real
    centred, wanted = found - found.mean(0), real - real.mean(0)
    first = np.linalg.svd(centred.reshape(len(rows), -1), full_matrices=False)[0][:, 0]
    moving = truth.moving
    a, b = centred[:, moving].ravel(), wanted[:, moving].ravel()
    pixel = model.pixel_size

    def rms(x: np.ndarray) -> float:
        return float(np.sqrt(np.mean(np.sum(x**2, axis=-1)))) / pixel

    return {
        "angle": abs(float(spearmanr(first, truth.angle[rows])[0])),
        "correlation": float(np.corrcoef(a, b)[0, 1]),
        "slope": float(a @ b / (b @ b)),
        "rmse": rms((centred - wanted)[:, moving]),
        "motion": rms(wanted[:, moving]),
        "rmse_of_all": rms(off),
        "resting": rms(centred[:, ~moving]),
    }


def finding(folder: Path, epochs: int, seed: int, words: list[str]) -> dict[str, Any]:
    """Fit a trial set, and score both halves on their own and on the other's images."""
    trial = replace(FINDING, seed=seed)
    truth, images = hinge_set(trial), folder / f"set-{seed}"
    if not (images / "particles.star").is_file():
        write_hinge_set(images, trial)
    out = folder / f"run-{seed}"
    command = ["optimize-deformations", str(images / "particles.star"), str(out)]
    command += ["--n-latent-dims", "2", "--n-gaussians", "200", "-n", str(epochs)]
    command += ["--seed", str(seed)]
    command += ["--overwrite", "--no-analysis", *words]
    wall, spent = timed_command(command)
    run = Run.open(out)
    model = load_flexible(run)
    with np.load(run.path / "agreement.npz") as kept:
        agreement = {name: float(kept[name]) for name in ("correlation", "slope", "error")}
        frames = run.latents().mean, kept["latents_half2"]
    rows = []
    for half in range(2):
        for seen in ("own", "unseen"):
            shown = model.halves[half if seen == "own" else 1 - half].images
            scores = half_scores(truth, model, half, frames[half], shown)
            rows.append({"half": half + 1, "images": seen, **scores})
    print_table(
        [{k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()} for row in rows],
        list(rows[0]),
    )
    print(f"seed {seed}: {wall:.0f} s, {spent:.0f} s of processor time; halves agree {agreement}")
    return {
        "seed": seed,
        "rows": rows,
        "seconds": wall,
        "cpu_seconds": spent,
        "agreement": agreement,
    }


def poses(folder: Path, epochs: int, words: list[str]) -> dict[str, Any]:
    """Plant errors in the poses of the trial set, refine them in a fit, and measure them."""
    images = folder / "set-poses"
    truth = write_hinge_set(images, FINDING)
    planted = plant_errors(truth, np.random.default_rng(1))
    planted.to_star(images / "planted.star")
    out = folder / "run-poses"
    command = ["optimize-deformations", str(images / "planted.star"), str(out), "--refine-poses"]
    command += ["--n-latent-dims", "2", "--n-gaussians", "200", "-n", str(epochs)]
    command += ["--pose-spread", "2", "6", "--overwrite", "--no-analysis", *words]
    wall, spent = timed_command(command)
    corrections = load_flexible(Run.open(out)).poses
    assert corrections is not None
    given = Pose(jnp.asarray(planted.rotation), jnp.asarray(planted.shift))
    found = corrected_pose(*given, jnp.asarray(corrections))
    rows = [
        {"poses": name, **pose_errors(truth, pose)}
        for name, pose in (("planted", given), ("refined", found))
    ]
    print_table(rows, list(rows[0]))
    print(f"{wall:.0f} s, {spent:.0f} s of processor time")
    return {"rows": rows, "seconds": wall, "cpu_seconds": spent}


def plant_errors(table: ParticleTable, rng: np.random.Generator) -> ParticleTable:
    """Turn poses by 3° and move them by 2 pixels, in any direction."""

    def directions(axes: int) -> np.ndarray:
        drawn = rng.normal(size=(len(table), axes))
        return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)

    off = np.concatenate([3 * directions(3), 2 * FINDING.pixel_size * directions(2)], axis=1)
    pose = corrected_pose(
        jnp.asarray(table.rotation), jnp.asarray(table.shift), jnp.asarray(off, jnp.float32)
    )
    return table.replace(rotation=np.asarray(pose.rotation), shift=np.asarray(pose.shift))


def pose_errors(table: ParticleTable, pose: Pose) -> dict[str, float]:
    """Compare poses with the true ones, up to one turn of the whole molecule."""
    turn = np.einsum("bji,bjk->bik", np.asarray(table.rotation), np.asarray(pose.rotation))
    common = Rotation.from_matrix(turn).mean().as_matrix()
    angle = np.rad2deg(Rotation.from_matrix(turn @ common.T).magnitude())
    off = np.linalg.norm(np.asarray(pose.shift) - np.asarray(table.shift), axis=1)
    return {
        "degrees": round(float(np.sqrt(np.mean(angle**2))), 2),
        "pixels": round(float(np.sqrt(np.mean(off**2))) / FINDING.pixel_size, 2),
    }


def igg(folder: Path, data: Path, words: list[str]) -> dict[str, Any]:
    """Fit the antibody, and compare its displacements and latents with the true turn."""
    out = folder / "igg"
    command = ["optimize-deformations", str(data / "particles.star"), str(out)]
    command += ["--n-latent-dims", "4", "-n", "3", "--n-warmup-epochs", "1", "--checkpoint", "3"]
    command += ["--overwrite", "--no-analysis", *words]
    wall, spent = timed_command(command)
    run = Run.open(out)
    with np.load(run.path / "agreement.npz") as kept:
        found = {name: float(kept[name]) for name in ("correlation", "slope", "motion", "error")}
        second = kept["latents_half2"]
    labels = np.load(data / "truth.npz")["labels"]
    states = [round(states_named(z, labels), 3) for z in (run.latents().mean, second)]
    print(
        f"igg: {wall:.0f} s, {spent:.0f} s of processor time; halves agree {found}; ten nearest "
        f"latents name the state of {states} of the images, in the frame of half 1 and 2"
    )
    return {"seconds": wall, "cpu_seconds": spent, "agreement": found, "states": states}


def states_named(latents: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of images whose state most of their ten nearest have."""
    nearest = np.asarray(cKDTree(latents).query(latents, 11)[1])[:, 1:]
    votes = [int(np.bincount(labels[rows]).argmax()) for rows in nearest]
    return float(np.mean(votes == labels))


def rendering(most: int) -> list[dict[str, Any]]:
    """Time the ways to draw Gaussians, forth and back, in boxes up to some size."""
    rows: list[dict[str, Any]] = []
    for box, shell, count in RENDERED:
        if box > most:
            continue
        rng = np.random.default_rng(0)
        points = jnp.asarray(rng.normal(size=(count, 3)) * box * 0.4, jnp.float32)
        model = GaussianModel.of(points, np.ones(count), np.full(count, 4.0))
        chosen, exact = Renderer(box, 3.0, shell, WIDTHS).chosen(count), np.zeros(0)
        for how in ("separable", "spread", "nufft"):
            drawn, spent = time_drawing(Renderer(box, 3.0, shell, WIDTHS, how), model)  # type: ignore[arg-type]
            if how == "separable":
                exact = drawn
            rows.append(
                {
                    "box": box,
                    "shell": shell,
                    "gaussians": count,
                    "method": how,
                    "ms_an_image": round(1e3 * spent, 3),
                    "error": float(np.abs(drawn - exact).max() / np.abs(exact).max()),
                    "chosen": chosen == how,
                }
            )
    print_table(rows, list(rows[0]))
    return rows


def time_drawing(
    renderer: Renderer, model: GaussianModel, images: int = 4, times: int = 2
) -> tuple[np.ndarray, float]:
    """Draw, and differentiate by places; returns images, and processor seconds of one image."""
    turn = jnp.broadcast_to(jnp.eye(3), (images, 3, 3))
    moved = jnp.zeros((images, len(model), 3))

    def power(moved):
        drawn = renderer(model.atoms(moved), turn)
        return jnp.sum(drawn.real**2 + drawn.imag**2), drawn

    slope = jax.jit(jax.grad(power, has_aux=True))
    drawn = jax.block_until_ready(slope(moved))[1]
    began = time.process_time()
    for _ in range(times):
        jax.block_until_ready(slope(moved))
    return np.asarray(drawn), (time.process_time() - began) / (images * times)


def main() -> None:
    """Run the tests asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--test", nargs="+", default=["finding", "poses", "igg", "rendering"])
    parser.add_argument("--epochs", type=int, default=30, help="of finding")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of finding")
    parser.add_argument("--largest", type=int, default=256, help="box of rendering")
    parser.add_argument("--data", type=Path, default=IGG, help="folder of igg-64")
    parser.add_argument("--folder", type=Path, help="keep sets and runs here")
    parser.add_argument("-o", "--output", type=Path)
    args, words = parser.parse_known_args()
    content: dict[str, Any] = {"machine": machine()}
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if "finding" in args.test:
            content["finding"] = [finding(folder, args.epochs, seed, words) for seed in args.seeds]
        if "poses" in args.test:
            content["poses"] = poses(folder, args.epochs, words)
        if "rendering" in args.test:
            content["rendering"] = rendering(args.largest)
        if "igg" in args.test:
            content["igg"] = igg(folder, args.data, words)
    write_json(args.output, "flexible", content)


if __name__ == "__main__":
    main()

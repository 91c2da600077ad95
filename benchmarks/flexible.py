"""Gaussians that move, measured by the user's command: the trial of finding a motion, and igg-64.

    python benchmarks/flexible.py [--test finding poses igg rendering] [--seeds 0 1 2] [-o FILE]

`finding`: 480 images of 32 pixels of a molecule on a hinge, angles even within ±25°, SNR 0.5. The
command is given the particles alone and starts from nothing else. Each half set's model is asked
for the latents of its own images and, with its decoder frozen, of the other half's; the angle is
told from latents by the first principal component of the displacements they give, so nothing is
fitted to the truth. Displacements are those of the true pseudo-atoms that turn, about their mean.
A seed is that of angles, poses and noise of the set, and of the fit. Beside them, the limit of each
half's images: the mean of an angle's posterior, the true molecule being known.

`igg`: the real shape. 2,000 images of 64 pixels of an antibody whose Fab turns all the way round.

`rendering`: milliseconds an image of each way to draw Gaussians: see flexible_rendering.py.

`poses`: the same molecule, poses off by 3° and 2 pixels, `--refine-poses`: see flexible_poses.py.

Wall and processor time are both given: the first depends on what else the machine does.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flexible_poses import poses
from flexible_rendering import rendering
from flexible_trials import angle_limits, timed_command
from record import machine, print_table, write_json
from scipy.spatial import cKDTree
from scipy.stats import spearmanr

from vitreous.methods.flexible.run_files import FlexibleModel, load_flexible
from vitreous.simulation.hinges import FINDING, HingeSet, hinge_set, write_hinge_set
from vitreous.training.run import Run

IGG = Path(__file__).parents[2] / "shared" / "data" / "particles" / "igg-64"


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
    limits = angle_limits(run, truth, trial.spread)
    print_table(
        [{k: round(v, 3) for k, v in row.items()} for row in limits], ["half", "angle", "rmse"]
    )
    print(f"seed {seed}: {wall:.0f} s, {spent:.0f} s of processor time; halves agree {agreement}")
    return {
        "seed": seed,
        "rows": rows,
        "limits": limits,
        "seconds": wall,
        "cpu_seconds": spent,
        "agreement": agreement,
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

"""Gaussians that move, measured by the user's command: the trial of finding a motion, and igg-64.

    python benchmarks/flexible.py [--test finding igg rendering] [--epochs 40] [-o FILE]

`finding`: 480 images of 32 pixels of a molecule on a hinge, angles even within ±25°, SNR 0.5. The
command is given the particles alone and starts from nothing else. Each half set's model is asked
for the latents of its own images and, with its decoder frozen, of the other half's; the angle is
told from latents by the first principal component of the displacements they give, so nothing is
fitted to the truth. Displacements are those of the true pseudo-atoms that turn, about their mean.

`igg`: the real shape. 2,000 images of 64 pixels of an antibody whose Fab turns all the way round.

`rendering`: milliseconds an image of each way to draw Gaussians, with the gradient.

Wall and processor time are both given: the first depends on what else the machine does.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from record import machine, print_table, write_json
from scipy.stats import spearmanr

from vitreous.methods.flexible.gaussian_model import GaussianModel
from vitreous.methods.flexible.rendering import Renderer
from vitreous.methods.flexible.run_files import FlexibleModel, load_flexible
from vitreous.simulation.hinges import FINDING, HingeSet, hinge_set, write_hinge_set
from vitreous.training.run import Run

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


def finding(folder: Path, epochs: int, words: list[str]) -> dict[str, Any]:
    """Fit the trial set, and score both halves on their own and on the other's images."""
    truth = hinge_set(FINDING)
    if not (folder / "set" / "particles.star").is_file():
        write_hinge_set(folder / "set", FINDING)
    out = folder / "run"
    command = ["optimize-deformations", str(folder / "set" / "particles.star"), str(out)]
    command += ["--n-latent-dims", "2", "--n-gaussians", "200", "-n", str(epochs)]
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
            images = model.halves[half if seen == "own" else 1 - half].images
            scores = half_scores(truth, model, half, frames[half], images)
            rows.append({"half": half + 1, "images": seen, **scores})
    print_table(
        [{k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()} for row in rows],
        list(rows[0]),
    )
    print(f"{wall:.0f} s, {spent:.0f} s of processor time; halves agree {agreement}")
    return {"rows": rows, "seconds": wall, "cpu_seconds": spent, "agreement": agreement}


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
    print(f"igg: {wall:.0f} s, {spent:.0f} s of processor time; halves agree {found}")
    return {"seconds": wall, "cpu_seconds": spent, "agreement": found}


def rendering() -> list[dict[str, Any]]:
    """Time the ways to draw Gaussians, forth and back."""
    rows = []
    for box, shell, count in ((32, 11, 200), (64, 20, 1500), (128, 40, 8000)):
        rng = np.random.default_rng(0)
        points = jnp.asarray(rng.normal(size=(count, 3)) * box * 0.4, jnp.float32)
        model = GaussianModel.of(points, np.ones(count), np.full(count, 4.0))
        for how in ("separable", "spread"):
            renderer = Renderer(box, 3.0, shell, (2.0, 8.0), how)  # type: ignore[arg-type]
            turn = jnp.broadcast_to(jnp.eye(3), (8, 3, 3))
            moved = jnp.zeros((8, count, 3))

            def power(moved, renderer=renderer, model=model, turn=turn):
                drawn = renderer(model.atoms(moved), turn)
                return jnp.sum(drawn.real**2 + drawn.imag**2)

            slope = jax.jit(jax.grad(power))
            jax.block_until_ready(slope(moved))
            began = time.process_time()
            for _ in range(3):
                jax.block_until_ready(slope(moved))
            spent = (time.process_time() - began) / 24
            best = Renderer(box, 3.0, shell, (2.0, 8.0)).chosen(count) == how
            rows.append(
                {
                    "box": box,
                    "shell": shell,
                    "gaussians": count,
                    "method": how,
                    "ms_an_image": round(1e3 * spent, 3),
                    "chosen": best,
                }
            )
    print_table(rows, list(rows[0]))
    return rows


def main() -> None:
    """Run the tests asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--test", nargs="+", default=["finding", "igg", "rendering"])
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--data", type=Path, default=IGG, help="folder of igg-64")
    parser.add_argument("--folder", type=Path, help="keep sets and runs here")
    parser.add_argument("-o", "--output", type=Path)
    args, words = parser.parse_known_args()
    content: dict[str, Any] = {"machine": machine()}
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if "finding" in args.test:
            content["finding"] = finding(folder, args.epochs, words)
        if "rendering" in args.test:
            content["rendering"] = rendering()
        if "igg" in args.test:
            content["igg"] = igg(folder, args.data, words)
    write_json(args.output, "flexible", content)


if __name__ == "__main__":
    main()

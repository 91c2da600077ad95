"""Find poses from images alone, and score them against the truth: tests T3–T6, noise, antibody.

    python benchmarks/abinitio.py --test T4 T5 --seeds 0 1 2
    python benchmarks/abinitio.py --test igg --data ../shared/data/particles/igg-64

Every row is one `vitreous abinit` process on a set without poses, timed from its start to its end
(compilation included unless its cache is warm). Goals and the peer's measured figures (DRGN-AI,
one thread) are printed beside ours; a goal that two of three seeds reach counts as reached.
`limit`: median error that the noise allows when the volume is known (Cramér–Rao bound).
"""

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from record import machine, print_table, write_json

DATA = Path(__file__).parents[2] / "shared" / "data" / "particles" / "igg-64"
Scores = dict[str, float]


@dataclass(frozen=True)
class Trial:
    """Say what a test is: how the set is made, the command's words, and what is to be reached.

    `goals`: score → (`"<="` or `">="`, value). `limit`: degrees. `peer`: in words.
    """

    what: str
    blobs: dict[str, Any] | None
    words: tuple[str, ...]
    goals: dict[str, tuple[str, float]]
    limit: float | None = None
    peer: str = "–"
    symmetry: str = "C1"


TRIALS = {
    "T3": Trial(
        "search, known volume, 500 images, SNR 0.3",
        {"kind": "rigid", "images": 500, "snr": 0.3},
        ("--strategy", "search", "--zdim", "0"),
        {"median": ("<=", 5.0), "within 10": (">=", 0.92), "images/s": (">=", 100.0)},
        4.2,
        "5.95°, 79 % < 10°, 9.9 images/s",
    ),
    "T4": Trial(
        "homogeneous, 1,000 images, SNR 0.3",
        {"kind": "rigid", "images": 1000, "snr": 0.3},
        ("--zdim", "0"),
        {
            "median": ("<=", 5.5),
            "within 10": (">=", 0.88),
            "beyond 90": ("<=", 0.05),
            "FSC 0.5, px": ("<=", 2.9),
            "seconds": ("<=", 180.0),
        },
        4.2,
        "14.9°, 42 % < 10°, 270 s",
    ),
    "T5": Trial(
        "heterogeneous, 2,000 images, SNR 0.3",
        {"kind": "hinge", "images": 2000, "snr": 0.3},
        ("--zdim", "4"),
        {
            "median": ("<=", 7.0),
            "within 12": (">=", 0.80),
            "latent r": (">=", 0.85),
            "seconds": ("<=", 480.0),
        },
        4.8,
        "did not converge at SNR 0.1",
    ),
    "T6": Trial(
        "pseudo-symmetry, 1,000 images, SNR 0.3",
        {"kind": "twins", "images": 1000, "snr": 0.3},
        ("--zdim", "0"),
        {"median": ("<=", 7.0), "right copy": (">=", 0.75)},
        None,
        symmetry="C2",
    ),
    "amortized": Trial(
        "amortised alone, 10,000 images, SNR 0.3",
        {"kind": "rigid", "images": 10000, "snr": 0.3},
        ("--strategy", "amortized", "--zdim", "0"),
        {"encoder median": ("<=", 15.0), "median": ("<=", 5.5)},
        4.2,
        "chance (116°) after 28,000 presentations",
    ),
    "noise": Trial(
        "pure noise, 500 images",
        {"kind": "noise", "images": 500},
        ("--zdim", "0"),
        {"FSC beyond shell 3": ("<=", 0.143), "says converged": ("<=", 0.0)},
    ),
    "igg": Trial(
        "antibody, 2,000 × 64², SNR 0.1, shifts ±8 Å",
        None,
        ("--zdim", "8"),
        {
            "median": ("<=", 10.0),
            "within 20": (">=", 0.75),
            "state accuracy": (">=", 0.60),
            "seconds": ("<=", 1200.0),
        },
    ),
}
SHOWN = [
    "test", "seed", "median", "within 10", "within 12", "within 20", "beyond 90", "shift, px",
    "FSC 0.5, px", "latent r", "state accuracy", "right copy", "encoder median",
    "FSC beyond shell 3", "says converged", "seconds", "images/s", "reached",
]  # fmt: skip


def write_blobs(folder: Path, trial: Trial, seed: int) -> Any:
    """Write a simulated set without poses as a stack and a star file."""
    from vitreous.maps import write_map
    from vitreous.particles.stack import write_stack
    from vitreous.simulation.blobs import PIXEL_SIZE, blob_set

    assert trial.blobs is not None
    blobs = blob_set(**trial.blobs, seed=seed)
    write_stack(folder / "particles.mrcs", blobs.source.images, PIXEL_SIZE)
    table = blobs.table.replace(stacks=(str(folder / "particles.mrcs"),))
    table.to_star(folder / "particles.star")
    # Images integrate over Å, the projection of a map sums over voxels.
    write_map(folder / "truth.mrc", blobs.volume() * PIXEL_SIZE, PIXEL_SIZE)
    return blobs


def write_without_poses(folder: Path, data: Path) -> None:
    """Write the star file of a set again, poses and shifts left out."""
    from vitreous.particles import read_particles

    table = read_particles(data / "particles.star")
    bare = dataclasses.replace(
        table, rotation=None, shift=np.zeros_like(table.shift), half_set=None, source=None
    )
    bare.to_star(folder / "particles.star")


def find_poses(folder: Path, words: list[str]) -> float:
    """Run the command; return its seconds."""
    command = [sys.executable, "-m", "vitreous.cli.main", "abinit"]
    command += [str(folder / "particles.star"), "-o", str(folder / "run"), "--overwrite", *words]
    start = time.perf_counter()
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-2000:]}")
    return time.perf_counter() - start


def pose_scores(run: Any, rotation: np.ndarray, shift: np.ndarray, symmetry: str) -> Scores:
    """Compare the poses of a run with true ones."""
    from vitreous.metrics.poses import pose_errors

    table = run.table()
    errors = pose_errors(table.rotation, rotation, table.shift, shift, symmetry)
    assert errors.shift is not None
    scores = {
        "median": float(np.median(errors.angle)),
        "within 10": float(np.mean(errors.angle < 10)),
        "within 12": float(np.mean(errors.angle < 12)),
        "within 20": float(np.mean(errors.angle < 20)),
        "beyond 90": float(np.mean(errors.angle > 90)),
        "shift, px": float(np.median(errors.shift)) / run.pixel_size,
    }
    if symmetry != "C1":
        scores["right copy"] = float(np.mean(errors.copy == 0))
    encoder = run.path / "encoder_poses.npz"
    if encoder.is_file():
        with np.load(encoder) as poses:
            first = pose_errors(poses["rotation"], rotation, symmetry=symmetry)
        scores["encoder median"] = float(np.median(first.angle))
    return scores


def map_scores(run: Any, truth: np.ndarray) -> Scores:
    """Compare the map with the true one after alignment; 0.5 in pixels, box / shell."""
    import jax.numpy as jnp

    from vitreous.maps import read_map
    from vitreous.reconstruction.fsc import crossing, fourier_shell_correlation
    from vitreous.reconstruction.volume_alignment import align_volumes

    found = read_map(run.path / "volumes" / "consensus.mrc").data
    laid = align_volumes(found, truth).apply(found)
    curve = np.asarray(fourier_shell_correlation(jnp.asarray(laid), jnp.asarray(truth)))
    shell = crossing(curve, 0.5)
    return {"FSC 0.5, px": 2.0 if shell is None else len(truth) / max(shell, 1e-6)}


def linear_r(latents: np.ndarray, angle: np.ndarray) -> float:
    """Correlate an angle with the best linear function of the latents."""
    design = np.concatenate([latents, np.ones((len(latents), 1))], axis=1)
    fitted = design @ np.linalg.lstsq(design, angle, rcond=None)[0]
    return float(np.corrcoef(fitted, angle)[0, 1])


def run_blobs(folder: Path, name: str, trial: Trial, seed: int, words: list[str]) -> Scores:
    """Run and score one simulated set."""
    from vitreous.training.run import Run

    blobs = write_blobs(folder, trial, seed)
    words = [*trial.words, *words, "--seed", str(seed)]
    if name == "T3":
        words += ["--initial-map", str(folder / "truth.mrc")]
    scores: Scores = {"seconds": find_poses(folder, words)}
    run = Run.open(folder / "run")
    told = json.loads((run.path / "found.json").read_text())
    scores |= search_rate(told, len(blobs.rotation))
    if name == "noise":
        fsc = np.loadtxt(run.path / "fsc.txt", skiprows=1)[:, 1]
        return scores | {
            "FSC beyond shell 3": float(fsc[4:].max()),
            "says converged": float(told["converged"]),
        }
    scores |= pose_scores(run, blobs.rotation, blobs.shift, trial.symmetry)
    scores |= map_scores(run, blobs.volume())
    if name == "T5":
        scores["latent r"] = linear_r(run.latents().mean, blobs.angle)
    return scores


def search_rate(told: dict, images: int) -> Scores:
    """Return the fastest rate that the history tells; compilation slows the first epochs."""
    rates = [e["images_per_second"] for e in told["history"] if "images_per_second" in e]
    return {"images/s": float(max(rates))} if rates else {}


def run_igg(folder: Path, data: Path, trial: Trial, seed: int, words: list[str]) -> Scores:
    """Run and score the antibody."""
    from vitreous.metrics.neighbours import state_accuracy
    from vitreous.metrics.truth import read_truth
    from vitreous.training.run import Run

    write_without_poses(folder, data)
    truth = read_truth(data / "truth.npz")
    words = [*trial.words, *words, "--seed", str(seed)]
    scores: Scores = {"seconds": find_poses(folder, words)}
    run = Run.open(folder / "run")
    scores |= pose_scores(run, truth.rotation, truth.shift, "C1")
    scores["state accuracy"] = state_accuracy(run.latents().mean, truth.labels)
    return scores


def reached(scores: Scores, goals: dict[str, tuple[str, float]]) -> dict[str, bool]:
    """Say which goals are reached."""
    compare: dict[str, Callable[[float, float], bool]] = {
        "<=": lambda a, b: a <= b,
        ">=": lambda a, b: a >= b,
    }
    return {
        name: name in scores and compare[sign](scores[name], value)
        for name, (sign, value) in goals.items()
    }


def main() -> None:
    """Run the tests asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--test", nargs="+", default=["T3", "T4"], choices=list(TRIALS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--data", type=Path, default=DATA, help="folder of igg-64")
    parser.add_argument("--words", nargs=argparse.REMAINDER, default=[], help="for the command")
    parser.add_argument("--keep", type=Path, default=None, help="keep sets and runs here")
    parser.add_argument("--json", type=Path, default=None)
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in args.test:
            trial = TRIALS[name]
            for seed in args.seeds:
                folder = (args.keep or Path(scratch)) / f"{name}-{seed}"
                folder.mkdir(parents=True, exist_ok=True)
                if name == "igg":
                    scores = run_igg(folder, args.data, trial, seed, args.words)
                else:
                    scores = run_blobs(folder, name, trial, seed, args.words)
                kept = reached(scores, trial.goals)
                row: dict[str, Any] = {"test": name, "seed": seed}
                row |= {key: round(value, 3) for key, value in scores.items()}
                row["reached"] = f"{sum(kept.values())}/{len(kept)}"
                row["missed"] = [goal for goal, is_kept in kept.items() if not is_kept]
                rows.append(row)
                print_table(rows, [c for c in SHOWN if any(c in r for r in rows)])
    for name in args.test:
        mine = [row for row in rows if row["test"] == name]
        needed = -(-2 * len(mine) // 3)
        print(f"\n{name}: {TRIALS[name].what}; peer: {TRIALS[name].peer}")
        for goal, (sign, value) in TRIALS[name].goals.items():
            held = sum(goal not in row["missed"] for row in mine)
            ours = ", ".join(str(row.get(goal, "–")) for row in mine)
            word = "reached" if held >= needed else "MISSED"
            print(f"  {goal} {sign} {value:g}: {ours} – {word} ({held} of {len(mine)} seeds)")
    content = {
        "machine": machine(),
        "trials": {name: dataclasses.asdict(TRIALS[name]) for name in args.test},
        "rows": rows,
    }
    write_json(args.json, "abinitio", content)


if __name__ == "__main__":
    main()

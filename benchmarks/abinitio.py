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
from pathlib import Path
from typing import Any

import numpy as np
from abinitio_scores import Scores, linear_r, map_scores, pose_scores, reached, search_rate
from abinitio_trials import TRIALS, Trial
from record import machine, print_table, write_json

DATA = Path(__file__).parents[2] / "shared" / "data" / "particles" / "igg-64"


SHOWN = [
    "test", "seed", "median", "within 10", "within 12", "within 20", "beyond 90", "shift, px",
    "FSC 0.5, px", "latent r", "state accuracy", "right copy", "true hand", "encoder median",
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


def run_blobs(folder: Path, name: str, trial: Trial, seed: int, words: list[str]) -> Scores:
    """Run and score one simulated set."""
    from vitreous.training.run import Run

    blobs = write_blobs(folder, trial, seed)
    words = [*trial.words, *words, "--seed", str(seed)]
    words = [word.replace("TRUTH", str(folder / "truth.mrc")) for word in words]
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
    if trial.blobs is not None and trial.blobs["kind"] == "hinge":
        z = run.latents().mean
        # Of tilt series a latent is a particle's, as its angle is.
        scores["latent r"] = linear_r(z, blobs.angle[:: len(blobs.angle) // len(z)])
    return scores


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

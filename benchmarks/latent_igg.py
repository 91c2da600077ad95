"""Train on the IgG particles and score against their truth, beside the peer's measured figures.

    python benchmarks/latent_igg.py ../shared/data/particles/igg-64 --epochs 6

Every row is one `vitreous train-vae` process, timed from its start to its saved latents
(compilation included unless the cache is warm). Rates are the best epoch's. With
`--peer /path/to/cryodrgn` that program is trained and scored in the same run.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from record import machine, print_table, write_json

# ../shared/data/README.md: cryoDRGN 4.3, 256 × 3, z 8, batch 8, two cores.
PEER = [
    {"run": "cryoDRGN 4.3, 5 epochs", "auc": 0.322, "accuracy": 0.27, "seconds": 240, "rate": 46},
    {"run": "cryoDRGN 4.3, 10 epochs", "auc": 0.341, "accuracy": 0.46, "seconds": 480, "rate": 46},
]

VARIANTS = {
    "default": [],
    "all pixels": ["--all-pixels"],
    "pixel encoder": ["--encode-mode", "resid"],
    "no consensus": ["--no-consensus"],
    "no support mask": ["--no-support"],
    "no whitening": ["--no-whiten"],
    "cryodrgn preset": ["--preset", "cryodrgn", "-b", "8"],
    "from a subspace": ["--init-latents", "SUBSPACE"],
}


def train(particles: Path, folder: Path, epochs: int, flags: list[str]) -> dict:
    """Run the command and return its seconds and best rate."""
    command = [sys.executable, "-m", "vitreous.cli.main", "train-vae", str(particles)]
    command += ["--zdim", "8", "-n", str(epochs), "-o", str(folder), "--no-analysis", *flags]
    command += ["--checkpoint", str(epochs)]
    start = time.perf_counter()
    if "SUBSPACE" in command:
        # The seconds of the subspace count.
        first = folder.with_name("subspace")
        words = [*command[:3], "train-subspace", str(particles), "-o", str(first), "--no-analysis"]
        run_quietly(words)
        command = [str(first) if word == "SUBSPACE" else word for word in command]
    run_quietly(command)
    seconds = time.perf_counter() - start
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    means = [r for r in map(json.loads, lines) if r.get("epoch_mean")]
    rate = max(r["images_per_second"] for r in means)
    return {"seconds": round(seconds, 1), "rate": round(rate)}


def run_quietly(command: list[str]) -> None:
    """Run a command without its messages; an error ends the benchmark."""
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def train_peer(program: str, data: Path, folder: Path, epochs: int) -> dict:
    """Train cryoDRGN with the same networks, from the same files, and score it the same way."""
    from vitreous.analysis.decoders import open_decoder
    from vitreous.analysis.truth_scores import score_run
    from vitreous.metrics.truth import read_truth
    from vitreous.particles import read_latent_pickle

    command = [program, "train_vae", str(data / "particles.star"), "--zdim", "8", "-b", "8"]
    command += ["--poses", str(data / "poses.pkl"), "--ctf", str(data / "ctf.pkl")]
    command += ["-n", str(epochs), "-o", str(folder), "--no-analysis"]
    for side in ("enc", "dec"):
        command += [f"--{side}-dim", "256", f"--{side}-layers", "3"]
    start = time.perf_counter()
    run_quietly(command)
    seconds = time.perf_counter() - start
    z, _ = read_latent_pickle(folder / f"z.{epochs}.pkl")
    decoder = open_decoder(folder / f"weights.{epochs}.pkl")
    scores = score_run(z, decoder.decode, read_truth(data / "truth.npz"))
    # Whole process: torch has no compilation to leave out.
    rate = epochs * len(z) / seconds
    return {"seconds": round(seconds, 1), "rate": round(rate)} | picked(scores)


def picked(scores: dict[str, float]) -> dict:
    """Round the two scores that the table shows."""
    auc = scores["per-image AUC-FSC, mean"]
    accuracy = scores["state accuracy (15 neighbours)"]
    return {"auc": round(auc, 4), "accuracy": round(accuracy, 4)}


def score(folder: Path, truth_file: Path) -> dict:
    """Score volumes and latents of a finished run."""
    from vitreous.analysis.truth_scores import score_run
    from vitreous.cli.common import start_jax
    from vitreous.metrics.truth import read_truth
    from vitreous.training.run import Run

    start_jax()
    run = Run.open(folder)
    scores = score_run(run.latents().mean, run.decode, read_truth(truth_file))
    return picked(scores)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder with particles.star and truth.npz")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--variants", nargs="*", default=["default"], choices=list(VARIANTS))
    parser.add_argument("--peer", default=None, help="cryodrgn program to run beside ours")
    parser.add_argument("--peer-epochs", type=int, default=5)
    parser.add_argument("--json", type=Path, default=None)
    args = parser.parse_args()
    rows = list(PEER)
    with tempfile.TemporaryDirectory() as scratch:
        if args.peer is not None:
            row = {"run": f"cryoDRGN in this run, {args.peer_epochs} epochs"}
            row |= train_peer(args.peer, args.folder, Path(scratch) / "peer", args.peer_epochs)
            rows.append(row)
        for name in args.variants:
            folder = Path(scratch) / name.replace(" ", "-")
            row = {"run": f"vitreous, {name}, {args.epochs} epochs"}
            row |= train(args.folder / "particles.star", folder, args.epochs, VARIANTS[name])
            row |= score(folder, args.folder / "truth.npz")
            rows.append(row)
            print_table(rows, ["run", "auc", "accuracy", "seconds", "rate"])
    write_json(args.json, "latent_igg", {"machine": machine(), "rows": rows})


if __name__ == "__main__":
    main()

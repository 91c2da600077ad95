"""Time of `analyze-landscape` with 1,000 volumes at 64³, of a subspace and of a small VAE.

The set is `igg-64` of the shared data. The VAE is fitted for one epoch: what it decodes does not
matter for the time, the size of its network (256 × 3) does. `error`: of the volumes of the
landscape, the largest of 20, as a share of the deviation of all from their mean.

    python benchmarks/landscape.py [--volumes 1000] [--skip-vae] [--json landscape.json]
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from record import machine, print_table, write_json

COLUMNS = ("run", "landscape s", "full s", "error %")
PARTICLES = Path(__file__).parents[2] / "shared/data/particles/igg-64/particles.star"


def run(*words: object) -> float:
    """Run a command of the program, and return the seconds it takes."""
    start = time.perf_counter()
    line = [sys.executable, "-m", "vitreous.cli.main", *map(str, words)]
    subprocess.run(line, check=True, capture_output=True)
    return time.perf_counter() - start


def largest_error(place: Path, few: int = 20) -> float:
    """Decode a few volumes by themselves, and compare them with those of the landscape.

    **Returns:** the largest root-mean-square difference, over that of all volumes from their mean.
    """
    from vitreous.maps import read_map
    from vitreous.training.run import Run

    folder = next(place.glob("landscape.*/kmeans*"))
    files = sorted(folder.glob("vol_*.mrc"), key=lambda file: int(file.stem[4:]))
    every = np.stack([read_map(file).data for file in files[:: max(1, len(files) // 200)]])
    spread = np.sqrt(np.mean((every - every.mean(axis=0)) ** 2))
    rows = np.random.default_rng(0).permutation(len(files))[:few]
    alone = Run.open(place).decode(np.loadtxt(folder / "z_values.txt")[rows])
    there = np.stack([read_map(files[k]).data for k in rows])
    apart = np.sqrt(np.mean((alone - there) ** 2, axis=(1, 2, 3)))
    return float(apart.max() / spread)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--volumes", type=int, default=1000)
    parser.add_argument("--skip-vae", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        fits = {"subspace": ["train-subspace", PARTICLES, "--no-analysis"]}
        if not options.skip_vae:
            fits["vae"] = ["train-vae", PARTICLES, "--zdim", 8, "-n", 1, "--no-analysis"]
        for name, words in fits.items():
            place = Path(folder) / name
            run(*words, "-o", place)
            seconds = run("analyze-landscape", place, "-N", options.volumes)
            full = run("analyze-landscape-full", place, "-N", 1000, "--skip-umap")
            found = (seconds, full, 100 * largest_error(place))
            rows.append({"run": name} | dict(zip(COLUMNS[1:], found, strict=True)))
    shown = [{k: v if k == "run" else f"{v:.2f}" for k, v in row.items()} for row in rows]
    print_table(shown, list(COLUMNS))
    write_json(options.json, "landscape", {"machine": machine(), "rows": rows})


if __name__ == "__main__":
    main()

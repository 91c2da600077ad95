"""Time of `analyze-landscape` with 1,000 volumes at 64³, of a subspace and of a small VAE.

The set is `igg-64` of the shared data. The VAE is fitted for one epoch: what it decodes does not
matter for the time, the size of its network (256 × 3) does.

    python benchmarks/landscape.py [--volumes 1000] [--skip-vae] [--json landscape.json]
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from record import machine, print_table, write_json

PARTICLES = Path(__file__).parents[2] / "shared/data/particles/igg-64/particles.star"


def run(*words: object) -> float:
    """Run a command of the program, and return the seconds it takes."""
    start = time.perf_counter()
    line = [sys.executable, "-m", "vitreous.cli.main", *map(str, words)]
    subprocess.run(line, check=True, capture_output=True)
    return time.perf_counter() - start


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
            rows.append({"run": name, "landscape s": f"{seconds:.1f}", "full s": f"{full:.1f}"})
    print_table(rows, ["run", "landscape s", "full s"])
    write_json(options.json, "landscape", {"machine": machine(), "rows": rows})


if __name__ == "__main__":
    main()

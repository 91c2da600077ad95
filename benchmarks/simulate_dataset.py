"""Write a simulated set to disk and compare with rendering alone; kill the program and go on.

    python benchmarks/simulate_dataset.py --count 10000 --box 128

The same images, noise included, are made twice: once thrown away as the device finishes them, once
written to disk. Both are compiled beforehand. "whole" is the command from its first to its last
line: noise level, images, true volumes, table. The last row kills the command with SIGKILL half
way, repeats it, and compares every file with those of a run that was left alone.
"""

import argparse
import hashlib
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
from record import machine, print_table, write_json

from vitreous.maps import write_map
from vitreous.simulation import MapStates, ParticleOptions, simulate_particles
from vitreous.simulation.population import draw_particles
from vitreous.simulation.rendering import Exposure, Renderer

PIXEL = 1.5


def render_seconds(specimen: MapStates, options: ParticleOptions) -> float:
    """Make every image of the set and throw it away."""
    particles = draw_particles(specimen, options)
    renderer = Renderer(specimen, particles, options, Exposure(deviation=1.0))
    jax.block_until_ready(renderer.start(0))
    begun = time.perf_counter()
    ahead = renderer.start(0)
    for batch in range(1, -(-options.count // renderer.batch)):
        following = renderer.start(batch)
        jax.block_until_ready(ahead)
        ahead = following
    jax.block_until_ready(ahead)
    return time.perf_counter() - begun


def write_seconds(
    specimen: MapStates, options: ParticleOptions, folder: Path
) -> tuple[float, float]:
    """Write the set; seconds for its images, and for the whole call."""
    first = None

    def progress(images: int) -> None:
        nonlocal first
        first = first or time.perf_counter()

    begun = time.perf_counter()
    simulate_particles(specimen, folder, options, overwrite=True, progress=progress)
    ended = time.perf_counter()
    assert first is not None
    written = (folder / "particles.mrcs").stat().st_mtime - time.time() + time.perf_counter()
    return written - first, ended - begun


def digest(folder: Path) -> dict[str, str]:
    """Digest every file of a set."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def kill_and_resume(volume: np.ndarray, count: int, folder: Path) -> dict:
    """Kill the command half way, repeat it, compare with a run left alone."""
    write_map(folder / "map.mrc", volume, PIXEL)
    command = [sys.executable, "-m", "vitreous.cli.main", "simulate", str(folder / "map.mrc")]
    command += ["-n", str(count), "-o"]
    partial = folder / "cut" / ".particles.mrcs.partial"
    half = 4 * volume.shape[0] ** 2 * count // 2
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    program = subprocess.Popen([*command, str(folder / "cut")], **quiet)
    while not (partial.exists() and partial.stat().st_size > half) and program.poll() is None:
        time.sleep(0.01)
    program.send_signal(signal.SIGKILL)
    program.wait()
    stored = partial.stat().st_size // (4 * volume.shape[0] ** 2) if partial.exists() else 0
    for name in ("cut", "whole"):
        subprocess.run([*command, str(folder / name)], check=True, **quiet)
    same = digest(folder / "cut") == digest(folder / "whole")
    return {"what": f"killed after {stored:,} of {count:,}, repeated", "identical files": same}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--box", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=None, help="on the disk to measure")
    parser.add_argument("--json", type=Path, default=None)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    volume = rng.normal(size=(args.box,) * 3).astype(np.float32)
    rows = []
    with tempfile.TemporaryDirectory(dir=args.folder) as scratch:
        for kernel in ("linear", "cubic"):
            specimen = MapStates.of(volume[None], PIXEL, kernel)
            options = ParticleOptions(args.count)
            # Everything is compiled on a set of one batch.
            simulate_particles(
                specimen, Path(scratch) / "warm", ParticleOptions(64), overwrite=True
            )
            render, write, whole = [], [], []
            for _ in range(args.repeats):
                render.append(args.count / render_seconds(specimen, options))
                images, total = write_seconds(specimen, options, Path(scratch) / "set")
                write.append(args.count / images)
                whole.append(args.count / total)
            best = max(render), max(write), max(whole)
            rows.append(
                {
                    "what": f"{args.count:,} × {args.box}², {kernel}",
                    "render/s": round(best[0]),
                    "written/s": round(best[1]),
                    "whole/s": round(best[2]),
                    "share": f"{best[1] / best[0]:.0%}",
                }
            )
        rows.append(kill_and_resume(volume, max(128, args.count // 5), Path(scratch)))
    print_table(rows, ["what", "render/s", "written/s", "whole/s", "share", "identical files"])
    content = {"machine": machine(), "count": args.count, "box": args.box, "rows": rows}
    write_json(args.json, "simulate_dataset", content)


if __name__ == "__main__":
    main()

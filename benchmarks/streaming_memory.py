"""Resident memory and rate of streaming many images from disk, without a model.

A stack of 512 noise images is referenced as often as needed, so that the table, the plan of the
epoch, the reads and the preparation are those of a large set while the disk holds 32 MiB. Reads
come from the page cache: the rate is that of the program, not of a disk.

    python benchmarks/streaming_memory.py [--images 100000] [--box 128] [--batch 64]
    python benchmarks/streaming_memory.py --images 20000 200000    # flat within 5 %?

Each number of images is streamed in a process of its own.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from record import machine, print_table, write_json
from scipy.spatial.transform import Rotation

from vitreous.imaging.ctf import CTFParameters
from vitreous.particles.loader import PreparedImages
from vitreous.particles.source import ImageSource
from vitreous.particles.stack import write_stack
from vitreous.particles.table import ParticleTable
from vitreous.training.fit import FitOptions, fit
from vitreous.training.run import Run

DISTINCT = 512
# Share by which the peak may grow from the fewest images to the most.
FLAT = 0.05


class MeanMethod:
    """Fit the mean of the images: the least a step can do."""

    def __init__(self, pixels: int) -> None:
        self.pixels = pixels

    def init(self, key):
        return jnp.zeros(self.pixels, jnp.complex64)

    def step(self, state, batch, key, progress):
        error = state[None] - batch.pixels
        return state - 0.1 * error.mean(0), {"loss": jnp.mean(jnp.abs(error) ** 2)}


def resident_bytes() -> int:
    """Return the memory of this process now."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def make_table(stack: Path, count: int, box: int) -> ParticleTable:
    """Refer to the images of a small stack again and again, in no order, each with its own pose
    and defocus, as after a refinement."""
    rng = np.random.default_rng(1)
    rotation = np.empty((count, 3, 3), np.float32)
    for first in range(0, count, DISTINCT):
        some = rotation[first : first + DISTINCT]
        some[:] = Rotation.random(len(some), random_state=rng).as_matrix()
    own = [rng.uniform(1e4, 2e4, count).astype(np.float32) for _ in range(3)]
    same = [np.full(count, value, np.float32) for value in (300, 2.7, 0.1, 0, 0, 1)]
    return ParticleTable(
        stacks=(str(stack),),
        stack_id=np.zeros(count, np.int32),
        image_index=rng.integers(0, DISTINCT, count),
        box=np.full(count, box, np.int32),
        pixel_size=np.full(count, 1.5),
        rotation=rotation,
        shift=rng.normal(size=(count, 2)).astype(np.float32),
        ctf=CTFParameters(*own, *same),
        optics_group=np.zeros(count, np.int32),
        row=np.arange(count),
    )


def stream(count: int, given: argparse.Namespace) -> dict:
    """Stream one epoch; what it took."""
    options = FitOptions(
        epochs=1, batch_size=given.batch, log_every=64, threads=given.threads, quiet=True
    )
    jnp.zeros(1).block_until_ready()
    start = resident_bytes()
    with tempfile.TemporaryDirectory() as folder:
        stack = Path(folder) / "noise.mrcs"
        noise = np.random.default_rng(0).normal(size=(DISTINCT, given.box, given.box))
        write_stack(stack, noise.astype(np.float32), 1.5)
        del noise
        table = make_table(stack, count, given.box)
        data = PreparedImages.build(table, ImageSource(table), resident=False)
        run = Run.create(Path(folder) / "run", {"images": count})
        began = time.perf_counter()
        fit(MeanMethod(len(data.pixels)), data, run, options)
        seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    queue = (2 * options.read_ahead + 1) * given.batch * given.box**2 * 4
    gib = 2**30
    return {
        "images": count,
        "box": given.box,
        "batch": given.batch,
        "images_per_second": round(count / seconds),
        "peak_resident_gib": round(peak / gib, 3),
        "of_which_before_start_gib": round(start / gib, 3),
        "batch_queue_gib": round(queue / gib, 3),
        "beyond_queue_gib": round((peak - queue) / gib, 3),
    }


def main() -> None:
    """Stream one epoch of each number of images, and write figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[100_000])
    parser.add_argument("--box", type=int, default=128)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, default=None)
    given = parser.parse_args()
    # A process each: what one has let go of would count for the next.
    spawn = multiprocessing.get_context("spawn")
    rows = []
    for count in given.images:
        with spawn.Pool(1) as pool:
            rows.append(pool.apply(stream, (count, given)))
    print_table(rows, list(rows[0]))
    peaks = [row["peak_resident_gib"] for row in rows]
    growth = max(peaks) / min(peaks) - 1
    if len(rows) > 1:
        print(f"peak memory differs by {100 * growth:.1f} %, goal: at most {100 * FLAT:.0f} %")
    name = "streaming_memory" if len(rows) == 1 else "streaming_flat"
    about = {"machine": machine("grain"), "growth": round(growth, 4)}
    write_json(given.json, name, about | {"rows": rows})
    if growth > FLAT:
        raise SystemExit(1)


if __name__ == "__main__":
    main()

"""Streaming beside resident data: the same fit from the disk, from a cache, and from the device.

    python benchmarks/streaming_rate.py --images 5000 --box 64
    python benchmarks/streaming_rate.py --images 3000 --box 128 --drop-cache
    python benchmarks/streaming_rate.py --commands --images 5000 --box 64

The fit is a small decoder, a step of which costs less than that of any method here: what streaming
adds shows as nowhere else. Each way runs once to compile, then the epochs are timed: wall and
processor seconds. Without `--drop-cache` reads come from the page cache after the first epoch; with
it the kernel is asked before each epoch to forget the files.

`--commands` times what users run instead, `train-vae` and `train-subspace` with and without
`--lazy`, on simulated particles: the fastest of the epochs after the first, or of two runs.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from record import machine, print_table, write_json

from vitreous.cli.common import start_jax
from vitreous.particles import ImageSource, ParticleTable, write_stack
from vitreous.particles.cache import cache_images
from vitreous.particles.loader import PreparedImages
from vitreous.simulation import HingeMotion, ParticleOptions, hinge_phantom, simulate_particles
from vitreous.training.fit import FitOptions, fit
from vitreous.training.run import Run

HIDDEN = 256
GOAL = 1.2


class Decoder:
    """Fit pixels by a network of two layers from a latent that is drawn anew at each step."""

    def __init__(self, pixels: int) -> None:
        self.pixels, self.optimiser = pixels, optax.adam(1e-3)

    def init(self, key):
        first, second = jax.random.split(key)
        weights = {
            "a": jax.random.normal(first, (HIDDEN, HIDDEN)) / HIDDEN**0.5,
            "b": jax.random.normal(second, (HIDDEN, 2 * self.pixels)) / HIDDEN**0.5,
        }
        return weights, self.optimiser.init(weights)

    def step(self, state, batch, key, progress):
        target = jnp.concatenate([batch.pixels.real, batch.pixels.imag], axis=1)
        z = jax.random.normal(key, (len(target), HIDDEN))

        def loss(weights):
            made = jnp.tanh(z @ weights["a"]) @ weights["b"]
            return jnp.mean((made - target) ** 2)

        weights, moments = state
        value, gradient = jax.value_and_grad(loss)(weights)
        update, moments = self.optimiser.update(gradient, moments)
        return (optax.apply_updates(weights, update), moments), {"loss": value}


def make_set(folder: Path, count: int, box: int) -> ParticleTable:
    """Write four stacks of noise, and refer to their images in no order, as a selection does."""
    rng, stacks = np.random.default_rng(0), []
    each = -(-count // 4)
    for number in range(4):
        stacks.append(str(folder / f"{number}.mrcs"))
        write_stack(stacks[-1], rng.standard_normal((each, box, box), np.float32), 1.5)
    order = rng.permutation(4 * each)[:count]
    return ParticleTable(
        stacks=tuple(stacks),
        stack_id=(order // each).astype(np.int32),
        image_index=order % each,
        box=np.full(count, box, np.int32),
        pixel_size=np.full(count, 1.5),
        rotation=None,
        shift=np.zeros((count, 2), np.float32),
        ctf=None,
        optics_group=np.zeros(count, np.int32),
        row=np.arange(count),
    )


def forget(folder: Path) -> None:
    """Ask the kernel to drop the files of a folder from the page cache."""
    for path in [*folder.rglob("*.mrcs"), *folder.rglob("images.bin")]:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def time_way(way: str, folder: Path, table: ParticleTable, args: argparse.Namespace) -> dict:
    """Fit one epoch to compile and then some more; the best epoch counts."""
    source = ImageSource(table)
    if way == "cache":
        source = cache_images(source, table, folder / "cache")
    data = PreparedImages.build(table, source, resident=way == "resident")
    run = Run.create(folder / way.replace(" ", "-"), {"images": len(table)})
    ends: list[tuple[float, float]] = []

    def on_checkpoint(state, epoch: int) -> None:
        jax.block_until_ready(jax.tree.leaves(state))
        if args.drop_cache:
            forget(folder)
        ends.append((time.perf_counter(), time.process_time()))

    options = FitOptions(
        epochs=args.epochs + 1,
        batch_size=args.batch,
        keep=1,
        quiet=True,
        threads=args.threads,
        shuffle_chunk=args.batch if way == "windows" else 1,
    )
    fit(Decoder(len(data.pixels)), data, run, options, on_checkpoint)
    spent = np.diff(np.asarray(ends), axis=0)
    wall, cpu = spent.min(axis=0)
    return {
        "way": way,
        "seconds an epoch": round(float(wall), 3),
        "processor seconds": round(float(cpu), 3),
        "images/s": round(len(table) / float(wall)),
    }


def time_command(method: str, words: list[str], star: Path, out: Path, epochs: int) -> float:
    """Run a command as a user does; seconds of its fastest epoch, or run, after the first."""
    command = [sys.executable, "-m", "vitreous.cli.main", method, str(star), "-o", str(out)]
    command += ["--zdim", "4", "--no-analysis", "--overwrite", *words]
    if method == "train-vae":
        subprocess.run([*command, "-n", str(epochs + 1)], check=True, capture_output=True)
        ended = {line["epoch"]: line["seconds"] for line in Run.open(out).metrics()}
        return float(np.diff([ended[epoch] for epoch in sorted(ended)]).min())
    command += ["--keep-all"]
    spent = []
    for _ in range(epochs):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        spent.append(time.perf_counter() - began)
    return min(spent)


def time_commands(folder: Path, args: argparse.Namespace) -> list[dict]:
    """Time fits of simulated particles, resident and streamed."""
    motion = HingeMotion(hinge_phantom(), box=args.box, pixel_size=160 / args.box, states=10)
    simulate_particles(motion, folder, ParticleOptions(count=args.images, snr=0.1))
    star, rows = folder / "particles.star", []
    for method in ("train-vae", "train-subspace"):
        ways = {"resident": [], "stacks": ["--lazy"], "cache": ["--lazy", "--cache"]}
        if method == "train-subspace":
            del ways["cache"]
        spent = {
            way: time_command(method, words, star, folder / "run", args.epochs)
            for way, words in ways.items()
        }
        rows += [
            {
                "way": f"{method}, {way}",
                "seconds an epoch": round(seconds, 3),
                "images/s": round(args.images / seconds),
                "× resident": round(seconds / spent["resident"], 2),
            }
            for way, seconds in spent.items()
        ]
    return rows


def main() -> None:
    """Time the ways and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--box", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--drop-cache", action="store_true", help="read from the disk itself")
    parser.add_argument("--commands", action="store_true", help="time what users run")
    parser.add_argument("--json", type=Path, default=None)
    args = parser.parse_args()
    start_jax()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.commands:
            rows = time_commands(folder, args)
        else:
            table = make_set(folder, args.images, args.box)
            ways = ("resident", "stacks", "cache", "windows")
            rows = [time_way(way, folder, table, args) for way in ways]
            for row in rows:
                row["× resident"] = round(row["seconds an epoch"] / rows[0]["seconds an epoch"], 2)
    print(f"{args.images} images of {args.box}², goal: at most {GOAL} × resident")
    print_table(rows, list(rows[0]))
    about = {"images": args.images, "box": args.box, "dropped": args.drop_cache}
    about["commands"] = args.commands
    write_json(args.json, "streaming_rate", {"machine": machine("grain"), **about, "rows": rows})


if __name__ == "__main__":
    main()

"""Time backprojection: the whole command, and its core on images already on the device.

    python benchmarks/backprojection.py --images 3000 --box 64

The command reads a stack and a .star, reconstructs with CTF, writes the map, half maps, five FSC
curves and a plot. It runs once to fill the compilation cache, then three times; the best counts.
CPU seconds are given too: on a shared machine they are what it needs.
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
from record import machine, print_table, write_json

from vitreous.cli.common import start_jax
from vitreous.geometry.rotations import random_rotations
from vitreous.imaging.ctf import CTFParameters
from vitreous.particles import ParticleTable, write_stack
from vitreous.reconstruction.backprojection import Slices, full_geometry
from vitreous.reconstruction.consensus import consensus_volume

# ../shared/reference: cryoDRGN 4.3 backproject_voxel, 3,000 images of 64², half maps and FSC,
# two cores.
PEER_SECONDS = 27.0
PIXEL = 4.0


def particles(images: int, box: int) -> tuple[ParticleTable, np.ndarray]:
    """Make noise images with random poses and CTFs: what they show does not change the time."""
    rng = np.random.default_rng(0)
    defocus = rng.uniform(8000, 20000, images)
    constants = {"defocus_angle": 30, "voltage": 300, "spherical_aberration": 2.7}
    constants |= {"amplitude_contrast": 0.1, "phase_shift": 0, "bfactor": 0, "scale": 1}
    fields = {name: np.full(images, value) for name, value in constants.items()}
    fields |= {"defocus_u": defocus, "defocus_v": defocus - 200}
    table = ParticleTable(
        stacks=("particles.mrcs",),
        stack_id=np.zeros(images, np.int32),
        image_index=np.arange(images),
        box=np.full(images, box, np.int32),
        pixel_size=np.full(images, PIXEL),
        rotation=np.asarray(random_rotations(jax.random.key(0), images)),
        shift=rng.uniform(-8, 8, (images, 2)).astype(np.float32),
        ctf=CTFParameters(**{name: np.float32(value) for name, value in fields.items()}),
        optics_group=np.zeros(images, np.int32),
        row=np.arange(images),
    )
    return table, rng.normal(size=(images, box, box)).astype(np.float32)


def time_command(table: ParticleTable, stack: np.ndarray) -> list[dict]:
    """Run `vitreous backproject-voxel` in its own process: first, then at best."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_stack(folder / "particles.mrcs", stack, PIXEL)
        table.replace(stacks=(str(folder / "particles.mrcs"),)).to_star(folder / "p.star")
        command = [sys.executable, "-m", "vitreous.cli.main", "backproject-voxel"]
        command += [str(folder / "p.star"), "-o", str(folder / "out")]
        for _ in range(4):
            used, start = os.times(), time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            seconds, now = time.perf_counter() - start, os.times()
            cpu = now.children_user + now.children_system
            cpu -= used.children_user + used.children_system
            rows.append({"seconds": round(seconds, 2), "CPU seconds": round(cpu, 2)})
    best = min(rows[1:], key=lambda row: row["seconds"])
    return [{"what": "command, first run", **rows[0]}, {"what": "command, warm", **best}]


def time_core(table: ParticleTable, stack: np.ndarray) -> dict:
    """Time `consensus_volume` on prepared pixels."""
    images, box = len(table), stack.shape[-1]
    geometry = full_geometry(box, PIXEL)
    half = np.fft.rfft2(stack).astype(np.complex64)
    slices = Slices(
        geometry.pixels.gather(jnp.asarray(half)),
        jnp.asarray(table.rotation),
        jnp.asarray(table.shift),
        jnp.full(images, PIXEL),
        jax.tree.map(jnp.asarray, table.ctf),
        jnp.arange(images, dtype=jnp.int32) % 2,
        jnp.ones(images),
    )
    jax.block_until_ready(consensus_volume(slices, geometry))
    best, cpu = np.inf, np.inf
    for _ in range(5):
        used, start = time.process_time(), time.perf_counter()
        jax.block_until_ready(consensus_volume(slices, geometry))
        best = min(best, time.perf_counter() - start)
        cpu = min(cpu, time.process_time() - used)
    row = {"what": "consensus_volume", "seconds": round(best, 2), "CPU seconds": round(cpu, 2)}
    return row | {"images/s": round(images / best)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--box", type=int, default=64)
    parser.add_argument("--core-only", action="store_true", help="skip the command")
    parser.add_argument("--json", type=Path, default=None)
    args = parser.parse_args()
    start_jax()
    table, stack = particles(args.images, args.box)
    rows = [] if args.core_only else time_command(table, stack)
    rows.append(time_core(table, stack))
    if (args.images, args.box) == (3000, 64):
        rows.append({"what": "cryoDRGN 4.3, command", "seconds": PEER_SECONDS})
    for row in rows:
        row.setdefault("images/s", round(args.images / row["seconds"]))
    print(f"{args.images} images of {args.box}²")
    print_table(rows, ["what", "seconds", "CPU seconds", "images/s"])
    content = {"images": args.images, "box": args.box, "rows": rows} | machine()
    write_json(args.json, f"backprojection_{args.box}", content)


if __name__ == "__main__":
    main()

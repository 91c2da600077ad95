"""Measure the forward model: slices, slices with CTF, Gaussian projection, whole particle sets.

    python benchmarks/imaging_speed.py --box 128

Slices are of all pixels within the Nyquist circle. Rates are given by the clock, and per CPU
second times the number of cores: what the same machine would give if nobody else used it and
the work spread evenly. Sets include compilation.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from record import machine, print_table, write_json

from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.geometry.rotations import random_rotations
from vitreous.imaging import AtomVolume, GaussianVolume
from vitreous.imaging.atoms import Atoms
from vitreous.imaging.ctf import CTFParameters, evaluate_ctf
from vitreous.imaging.fourier_grid import volume_to_grid
from vitreous.imaging.grid import ImageGrid
from vitreous.imaging.projection.project import project
from vitreous.imaging.slicing import slice_grid
from vitreous.simulation import (
    HingeMotion,
    MapStates,
    Optics,
    ParticleOptions,
    hinge_phantom,
    simulate_particles,
)

# ../shared/reference/cryojax.md 2.5: cryojax 0.6 on two cores, float32, batch 8, N = 128.
PEER = {
    "slice + CTF, linear": 1118,
    "slice + CTF, cubic": 109,
    "3,000 Gaussians + CTF, separable": 305,
    "3,000 Gaussians + CTF, spread": 244,
}


def rate(run: Callable[[], object], images: int, seconds: float = 3.0) -> dict:
    """Repeat a call for some seconds; images a second by the clock and by the CPU."""
    jax.block_until_ready(run())
    count, start, used = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - start < seconds:
        jax.block_until_ready(run())
        count += images
    clock, used = time.perf_counter() - start, time.process_time() - used
    return {"images/s": round(count / clock), "alone": round(count / used * (os.cpu_count() or 1))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--box", type=int, default=128)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--json", type=Path, default=None)
    args = parser.parse_args()
    n, b = args.box, args.batch
    rng = np.random.default_rng(0)
    volume = jnp.asarray(rng.normal(size=(n, n, n)), jnp.float32)
    k = jnp.asarray(FourierPixels(n, (n - 1) // 2, 0).frequency)
    rotation = random_rotations(jax.random.key(0), b)
    ctf = Optics().draw(rng, b)
    ctf = CTFParameters(*(jnp.asarray(column) for column in ctf))
    rows = []

    @jax.jit
    def imaged(grid, rotation, ctf):
        values = slice_grid(grid, rotation, k)
        return values * evaluate_ctf(k / (n * 1.5), ctf).astype(values.dtype)

    cut = jax.jit(slice_grid)
    for kernel in ("linear", "cubic", "kaiser"):
        grid = volume_to_grid(volume, 1.0, kernel)
        rows.append({"what": f"slice, {kernel}"} | rate(partial(cut, grid, rotation, k), b))
        with_ctf = partial(imaged, grid, rotation, ctf)
        rows.append({"what": f"slice + CTF, {kernel}"} | rate(with_ctf, b))

    # As the peer was measured: wide Gaussians, a batch of 8, half planes with CTF. Atoms have five
    # narrow ones each, with B-factors of their own.
    image, few = ImageGrid(n, 1.5), rotation[:8]
    position = rng.uniform(-40, 40, (3000, 3)).astype(np.float32)
    one = np.ones((3000, 1), np.float32)
    gaussians = GaussianVolume(position, one, 4 * one)
    elements = rng.choice([1, 6, 7, 8], 3000)
    bfactors = rng.uniform(10, 60, 3000).astype(np.float32)
    atoms = AtomVolume.of(Atoms(position, elements, bfactors, one[:, 0]))
    for what, specimen, method in (
        ("3,000 Gaussians + CTF, separable", gaussians, "separable"),
        ("3,000 Gaussians + CTF, spread", gaussians, "spread"),
        ("3,000 atoms + CTF, separable", atoms, "separable"),
        ("3,000 atoms + CTF, spread", atoms, "spread"),
        ("3,000 atoms + CTF, NUFFT", atoms, "nufft"),
    ):
        if method == "nufft" and find_spec("nufftax") is None:
            continue

        @jax.jit
        def projected(specimen, rotation, ctf, method=method):
            half = project(specimen, rotation, image, method)
            factor = evaluate_ctf(image.frequencies().reshape(-1, 2), ctf)
            return half * factor.reshape(half.shape).astype(half.dtype)

        few_ctf = CTFParameters(*(column[:8] for column in ctf))
        rows.append({"what": what} | rate(partial(projected, specimen, few, few_ctf), len(few)))

    hinge = hinge_phantom()
    with tempfile.TemporaryDirectory() as folder:
        for name, specimen, count in [
            (f"set written, map, {n}²", MapStates.of(np.asarray(volume)[None], 1.5), 2000),
            ("set written, hinge, 64²", HingeMotion(hinge, 64, 3.2), 2000),
        ]:
            start, used = time.perf_counter(), time.process_time()
            simulate_particles(specimen, folder, ParticleOptions(count), overwrite=True)
            clock, used = time.perf_counter() - start, time.process_time() - used
            alone = count / used * (os.cpu_count() or 1)
            rows.append({"what": name, "images/s": round(count / clock), "alone": round(alone)})
    for row in rows:
        row["cryojax"] = PEER.get(row["what"], "") if n == 128 else ""
    print_table(rows, ["what", "images/s", "alone", "cryojax"])
    write_json(args.json, "imaging_speed", {"machine": machine(), "box": n, "rows": rows})


if __name__ == "__main__":
    main()

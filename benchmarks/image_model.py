"""Measure whole image models: images, likelihoods, gradients, sums over poses.

    python benchmarks/image_model.py --box 128

Rates are given by the clock, and per CPU second times the number of cores, as in
`imaging_speed.py`. The volume is a Fourier grid without padding; every image has its own CTF.
"""

import argparse
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from record import machine, print_table, write_json

from vitreous.geometry.so3_grid import so3_grid
from vitreous.imaging import FourierVolume, GaussianNoise, ImageGrid, ImageModel, Optics, Pose
from vitreous.imaging.posterior import pose_posterior, shift_grid


def rate(run: Callable[[], object], items: int, seconds: float) -> dict:
    """Repeat a call for some seconds; items a second by the clock and by the CPU."""
    jax.block_until_ready(run())
    count, start, used = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - start < seconds:
        jax.block_until_ready(run())
        count += items
    clock, used = time.perf_counter() - start, time.process_time() - used
    return {"a second": round(count / clock), "alone": round(count / used * (os.cpu_count() or 1))}


def slope(model: ImageModel, observed: jax.Array, steps: tuple) -> tuple:
    """Differentiate the likelihood by tangent steps of rotation and by shift."""

    def total(steps: tuple) -> jax.Array:
        turn, shift = steps
        pose = eqx.tree_at(lambda p: p.shift, model.pose.retract(turn), shift)
        return jnp.sum(eqx.tree_at(lambda m: m.pose, model, pose).log_likelihood(observed))

    return jax.grad(total)(steps)


def measure(density: np.ndarray, kernel: str, batch: int, seconds: float) -> list[dict]:
    """Measure one kind of grid."""
    box, rng = len(density), np.random.default_rng(0)
    pose = Pose.random(jax.random.key(0), batch, 5.0)
    optics = Optics(rng.uniform(8e3, 2e4, batch).astype(np.float32), 9e3, 30.0)
    volume = FourierVolume.of(density, 1.5, kernel)  # type: ignore[arg-type]
    model = ImageModel(volume, pose, ImageGrid(box, 1.5), optics, noise=GaussianNoise(1.0))
    observed = model.render()
    steps = (jnp.zeros((batch, 3)), pose.shift)
    calls = {
        "render": model.render,
        "log-likelihood": partial(model.log_likelihood, observed),
        "gradient by pose": partial(eqx.filter_jit(slope), model, observed, steps),
    }
    rows = [
        {"what": f"{name}, {kernel}", **rate(call, batch, seconds)} for name, call in calls.items()
    ]
    if kernel == "linear":
        rotations, shifts = jnp.asarray(so3_grid(0)), jnp.asarray(shift_grid(6.0, 1.5))
        few = eqx.tree_at(lambda m: m.optics.defocus_u, model, model.optics.defocus_u[:8])
        compare = partial(pose_posterior, few, observed[:8], rotations, shifts)
        count = 8 * len(rotations) * len(shifts)
        what = f"poses compared ({len(rotations)} rotations, {len(shifts)} shifts, 8 images)"
        rows.append({"what": what, **rate(compare, count, seconds)})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--box", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    x = (np.arange(options.box) - options.box // 2) ** 2
    inside = x[:, None, None] + x[:, None] + x < (options.box / 3) ** 2
    density = np.random.default_rng(1).normal(size=inside.shape).astype(np.float32) * inside
    rows = []
    for kernel in ("linear", "cubic"):
        rows += measure(density, kernel, options.batch, options.seconds)
    print_table(rows, ["what", "a second", "alone"])
    about = {"machine": machine(), "box": options.box, "batch": options.batch}
    write_json(options.output, "image_model", about | {"rows": rows})


if __name__ == "__main__":
    main()

"""What one device reaches: a VAE's steps beside the peak of its products, EM, backprojection.

    python benchmarks/device_rates.py                                   # small, for a CPU
    python benchmarks/device_rates.py --box 128 256 --images 20000      # a GPU
    python benchmarks/device_rates.py --trace folder                    # and where the time goes

The peak is that of bf16 products (float32 on CPUs) of large square matrices, measured first. A step
of the VAE is counted in the operations of its decoder's and encoder's products, three times those
forwards; all pixels of every image. EM and backprojection are counted in images.
"""

import argparse
import gzip
import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from backprojection import particles, time_core
from record import machine, print_table, write_json

from vitreous.cli.common import start_jax
from vitreous.doctor.devices import benchmark_devices
from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.methods.latent.config import LatentConfig
from vitreous.methods.latent.model import LatentMethod
from vitreous.methods.subspace.config import SubspaceConfig
from vitreous.methods.subspace.estimate import first_noise, start
from vitreous.methods.subspace.preparation import image_passes
from vitreous.particles.loader import PreparedImages
from vitreous.reconstruction.foundation import Foundation
from vitreous.training.precision import matmul_precision
from vitreous.training.steps import Stepper


class Stack:
    """Images in memory, as a source."""

    def __init__(self, images: np.ndarray) -> None:
        self._images, self.box = images, images.shape[-1]

    def __len__(self) -> int:
        return len(self._images)

    def read(self, index: np.ndarray) -> np.ndarray:
        return self._images[index]


def best_of(work: Callable[[], object], repeats: int = 3) -> float:
    """Return the seconds of the best of some calls, the first left out."""
    work()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def weights_of(tree) -> int:
    """Count the numbers in the matrices of a model."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree) if getattr(leaf, "ndim", 0) >= 2)


def vae_row(
    data: PreparedImages, args: argparse.Namespace, peak: float, trace: Path | None = None
) -> dict:
    """Time the steps of a VAE; `trace`: folder for a profile of one more block of them."""
    box, shells = data.box, data.pixels.max_shell + 1
    config = LatentConfig(
        kind="vae", zdim=8, encoder="mlp", consensus=False, sample=False, encoder_band=-1,
        encoder_width=args.width, decoder_width=args.width, batch_size=args.batch,
    )  # fmt: skip
    ones = np.ones(shells, np.float32)
    method = LatentMethod(config, Foundation(None, None, ones, ones, 0.4 * box), data.pixels,
                          len(data), piece_rows=None)  # fmt: skip
    stepper = Stepper(method, data, key=jax.random.key(0), total_steps=1000, block=args.block)
    plan = data.plan_in_order(args.batch)
    state = {"arrays": stepper.init()}

    def work() -> None:
        epoch = stepper.epoch(plan, 0, 0)
        arrays, _, fetch = epoch.advance(state["arrays"])
        state["arrays"] = arrays
        fetch()

    steps = min(args.block, len(plan.rows))
    with matmul_precision("auto"):
        seconds = best_of(work)
        if trace is not None:
            with jax.profiler.trace(str(trace)):
                work()
    model = stepper.whole(state["arrays"]).model
    decoder, encoder = weights_of(model.decoder), weights_of(model.encoder)
    flops = 6 * steps * args.batch * (decoder * len(data.pixels) + encoder)
    return {
        "what": f"VAE {args.width} × 3, all pixels, D = {box}",
        "images/s": round(steps * args.batch / seconds),
        "Tflop/s": round(flops / seconds / 1e12, 3),
        "of the peak": round(flops / seconds / peak, 3),
    }


def em_row(data: PreparedImages, args: argparse.Namespace) -> dict:
    """Time passes of EM with all their sums."""
    config = SubspaceConfig(zdim=args.components)
    passes = image_passes(data, config)
    band, box = passes.band, (passes.band.size,) * 3
    rng = np.random.default_rng(0)
    half = (np.arange(len(data)) % 2).astype(np.int32)
    noise = first_noise(np.zeros(len(data), np.int32), band)
    mean = rng.standard_normal((2, *box), np.float32)
    estimate = start(mean, np.ones((band.fields, *box), np.float32), half, noise, band, 0)
    estimate = passes.data.place(estimate)
    seconds = best_of(
        lambda: jax.block_until_ready(passes.run(estimate.subspace, estimate.noise)[0])
    )
    what = f"EM, K = {band.components}, {band.max_shell} shells, D = {data.box}"
    return {"what": what, "images/s": round(len(data) / seconds)}


def summary_of_trace(folder: Path, most: int = 12) -> list[dict]:
    """Add up the time of every kernel in a profile of JAX."""
    files = sorted(folder.rglob("*.trace.json.gz"))
    if not files:
        return []
    with gzip.open(files[-1], "rt", encoding="utf-8") as file:
        events = json.load(file)["traceEvents"]
    names = {
        e["pid"]: e["args"]["name"]
        for e in events
        if e.get("name") == "process_name" and "name" in e.get("args", {})
    }
    # On a CPU there is no device but the host, whose Python calls begin with a dollar.
    devices = {pid for pid, name in names.items() if "/device:" in name} or set(names)
    spent: Counter[str] = Counter()
    for event in events:
        is_work = event.get("ph") == "X" and event.get("pid") in devices
        if is_work and not event["name"].startswith(("$", "PjitFunction")):
            spent[event["name"].split(".")[0]] += event.get("dur", 0)
    whole = sum(spent.values()) or 1
    return [
        {"kernel": name[:60], "ms": round(us / 1e3, 2), "share": f"{us / whole:.1%}"}
        for name, us in spent.most_common(most)
    ]


def main() -> None:
    """Measure, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--box", type=int, nargs="+", default=[32])
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--block", type=int, default=8)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("-k", "--components", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=5.0, help="for the peak")
    parser.add_argument("--trace", type=Path, default=None, help="folder for a profile")
    parser.add_argument("--json", type=Path, default=None)
    args = parser.parse_args()
    start_jax()
    found = {f.name: f.figures for f in benchmark_devices(args.seconds)}
    name = "products, bfloat16" if "products, bfloat16" in found else "products, float32"
    peak = float(found[name]["flops"])
    rows = [{"what": f"peak ({name})", "Tflop/s": round(peak / 1e12, 3), "of the peak": 1.0}]
    for box in args.box:
        table, stack = particles(args.images, box)
        pixels = FourierPixels(box, (box - 1) // 2)
        data = PreparedImages.build(table, Stack(stack), pixels=pixels, resident=True)
        trace = None if args.trace is None else args.trace / str(box)
        rows += [vae_row(data, args, peak, trace), em_row(data, args)]
        core = time_core(table, stack)
        rows.append({"what": f"backprojection, D = {box}", "images/s": core["images/s"]})
        if trace is not None:
            print_table(summary_of_trace(trace), ["kernel", "ms", "share"])
    print_table(rows, ["what", "images/s", "Tflop/s", "of the peak"])
    write_json(args.json, "device_rates", {"machine": machine(), "rows": rows})


if __name__ == "__main__":
    main()

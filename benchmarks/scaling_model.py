"""Time and memory of large fits on paper: operations, bytes and rates; the tables of docs/scale.md.

    python benchmarks/scaling_model.py
    python benchmarks/scaling_model.py --efficiency 0.4 --disk 20

Nothing is run. What a GPU reaches is an assumption until it is measured: the share of the peak of
its bf16 products (`--efficiency`), and images a second of EM and backprojection.
"""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

from record import print_table, write_json

# NVIDIA H200 SXM, data sheet: dense bf16 products; NVLink 4 and a 400 Gb/s port a GPU, one way.
PEAK, NVLINK, NETWORK = 989e12, 450e9, 50e9
# Layers of 1,024: three hidden ones, an input of the positional encoding and the latent.
WIDTH, HIDDEN, LATENT = 1024, 3, 8
COMPONENTS = 10


@dataclass(frozen=True)
class Case:
    """Say what is fitted where. **Fields:** `batch`: images of a step on each GPU."""

    name: str
    images: int
    box: int
    nodes: int
    gpus: int
    batch: int

    @property
    def devices(self) -> int:
        """GPUs in all."""
        return self.nodes * self.gpus

    @property
    def pixels(self) -> int:
        """Fourier pixels of an image: half a disc of whole shells."""
        return round(math.pi / 2 * ((self.box - 1) // 2) ** 2)

    @property
    def link(self) -> float:
        """Bytes a second, one way, of the slowest link that a ring of all GPUs uses."""
        return NETWORK if self.nodes > 1 else NVLINK


def ring(case: Case, size: float, passes: int) -> float:
    """Seconds to add up arrays of `size` bytes: 2 passes give the sum to all, 1 a share to each."""
    return passes * (case.devices - 1) / case.devices * size / case.link


def network(case: Case) -> dict[str, float]:
    """Count weights and operations of the decoder (per pixel) and the encoder (per image)."""
    inputs = 3 * case.box + LATENT
    decoder = inputs * WIDTH + HIDDEN * WIDTH**2 + 2 * WIDTH
    encoder = 2 * case.pixels * WIDTH + HIDDEN * WIDTH**2 + 2 * LATENT * WIDTH
    # A product and a sum a weight; backwards costs twice as much as forwards.
    return {
        "weights": decoder + encoder,
        "operations": 3 * 2 * (decoder * case.pixels + encoder),
    }


def vae(case: Case, efficiency: float, disk: float) -> dict[str, object]:
    """Work out `train-vae`, all pixels."""
    net = network(case)
    step = case.batch * net["operations"] / (efficiency * PEAK)
    held = 2 * case.pixels * 2
    # Each device sends its rows of the batch to those that work on them; then gradients meet.
    rows = ring(case, case.devices * case.batch * held, 1)
    gradients = ring(case, 4 * net["weights"], 2)
    steps = case.images / (case.devices * case.batch)
    whole = step + rows + gradients
    return {
        "case": case.name,
        "GFLOP an image": round(net["operations"] / 1e9),
        "step, ms": round(step * 1e3, 1),
        "rows, ms": round(rows * 1e3, 2),
        "gradients, ms": round(gradients * 1e3, 2),
        "share of work": f"{step / whole:.0%}",
        "epoch, min": round(steps * whole / 60, 1),
        "upload, min": round(case.images * case.box**2 * 4 / disk / 60, 1),
        "images each, GB": round(case.images * held / case.devices / 1e9, 1),
        # Weights, two moments, a gradient; all float32.
        "weights each, GB": round(4 * 4 * net["weights"] / 1e9, 2),
    }


def passes(case: Case, em: float, backprojection: float, disk: float) -> dict[str, object]:
    """Work out a pass of EM over resident images, and a backprojection from the disk."""
    voxels = (case.box + 3) ** 2 * (case.box // 2 + 2)
    fields = COMPONENTS + 1
    # Rows hold a voxel and its neighbour: numerators, and packed weights of all products; halves.
    table = 2 * voxels * 2 * (2 * fields + fields * (fields + 1) // 2) * 4
    area = (128 / case.box) ** 2
    read = case.images * case.box**2 * 4 / disk
    work = case.images / (case.devices * backprojection * area)
    return {
        "case": case.name,
        "EM pass, s": round(case.images / (case.devices * em * area)),
        "sums, GB": round(table / 1e9, 1),
        "adding up, s": round(ring(case, table, 2), 2),
        "backprojection: work, s": round(work, 1),
        "disk, s": round(read),
        "maps, GB": round(2 * voxels * 6 * 4 / 1e9, 2),
    }


def host(case: Case) -> dict[str, object]:
    """Work out what each machine holds and reads besides."""
    row_bytes = 4 * (9 + 2 + 1 + 9) + 8 + 4 + 4 + 8
    latents = case.images * LATENT * 4
    return {
        "case": case.name,
        "stacks, TB": round(case.images * case.box**2 * 4 / 1e12, 2),
        "tables of a node, GB": round(case.gpus * case.images * row_bytes / 1e9, 1),
        "latents and moments (train-dec), GB": round(3 * latents / 1e9, 2),
        "checkpoint, GB": round((3 * latents + 3 * 4 * network(case)["weights"]) / 1e9, 2),
    }


CASES = (
    Case("10⁶ × 256², 1 node of 8", 1_000_000, 256, 1, 8, 64),
    Case("10⁷ × 128², 4 nodes of 8", 10_000_000, 128, 4, 8, 64),
    Case("10⁷ × 128², 4 nodes of 8, 256 each", 10_000_000, 128, 4, 8, 256),
)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--efficiency", type=float, default=0.3, help="of the bf16 peak")
    parser.add_argument("--disk", type=float, default=10.0, help="GB/s of the file system")
    parser.add_argument("--em", type=float, default=20_000, help="images/s of a GPU, 128²")
    parser.add_argument("--backprojection", type=float, default=100_000, help="the same")
    parser.add_argument("--json", type=Path, default=None, help="keep the tables")
    args = parser.parse_args()
    disk = args.disk * 1e9
    tables = {
        "train-vae": [vae(case, args.efficiency, disk) for case in CASES],
        "passes": [passes(case, args.em, args.backprojection, disk) for case in CASES[:2]],
        "host": [host(case) for case in CASES[:2]],
    }
    for name, rows in tables.items():
        print(f"\n{name}")
        print_table(rows, list(rows[0]))
    if args.json is not None:
        write_json(args.json, "scaling_model", tables)


if __name__ == "__main__":
    main()

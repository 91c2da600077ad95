"""Pose images of a blob molecule by an encoder alone, and score against the truth.

    python benchmarks/abinitio_amortised.py --images 10000 --seeds 0 1 2

Every row is one fit from images alone, timed from prepared images to final poses, compilation
included. With `--variants` the options that the defaults won against run on smaller sets too.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from record import machine, print_table, write_json

# ../shared/reference/cryofire.md §5.1: depth 4, decoder 3 × 64, 28,000 presentations, one thread.
PEER = {"run": "CryoFIRE", "images": 1000, "median": 116.0, "seconds": 145}

VARIANTS: dict[str, dict] = {
    "default": {},
    "one head": {"heads": 1},
    "eight heads": {"heads": 8},
    "winner takes all": {"assignment": "winner"},
    "no turns": {"equivariant": False},
    "no tries": {"trials": 0},
    "convolutions": {"encoder": "cnn", "depth_cnn": 3},
    "no dreams": {"scheme": "gradient", "encoder": "cnn", "depth_cnn": 4, "num_epochs": 14},
}


def fit_set(images: int, snr: float, seed: int, kind: str, settings: dict) -> dict:
    """Fit one set and score it."""
    from vitreous.methods.abinitio.amortised.config import AmortisedConfig
    from vitreous.methods.abinitio.amortised.train import train_amortised
    from vitreous.metrics.poses import pose_errors
    from vitreous.particles.loader import PreparedImages
    from vitreous.simulation.blobs import PIXEL_SIZE, blob_set
    from vitreous.training.run import Run

    trial = blob_set(kind, images, snr, seed)
    data = PreparedImages.build(trial.table, trial.source)
    config = AmortisedConfig(seed=seed, **settings)
    lines: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(
            Path(folder) / "run", {"method": "abinitio", "box": 32, "pixel_size": PIXEL_SIZE}
        )
        start = time.perf_counter()
        found = train_amortised(data, config, run, lines.append)
        seconds = time.perf_counter() - start
        rates = [entry["images_per_second"] for entry in found.history]
    if kind == "noise":
        beyond = float(np.max(found.fsc[4:]))
        return {"seconds": round(seconds), "fsc_beyond_3": beyond, "verdict": found.verdict}
    summary = pose_errors(found.rotation, trial.rotation, found.shift, trial.shift).summary()
    return {
        "median": round(summary.median, 2),
        "below_10": round(summary.share_within_10, 3),
        "below_20": round(summary.share_within_20, 3),
        "beyond_90": round(summary.share_beyond_90, 3),
        "shift_px": round(float(summary.median_shift or 0.0) / PIXEL_SIZE, 3),
        "seconds": round(seconds),
        "images_per_second": round(float(np.median(rates))),
        "verdict": found.verdict,
        "notes": lines,
    }


def main() -> None:
    """Run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--snr", type=float, default=0.3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--variants", action="store_true", help="compare options on 2,000 images")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    for seed in options.seeds:
        result = fit_set(options.images, options.snr, seed, "rigid", {})
        rows.append({"run": f"seed {seed}", "images": options.images, **result})
        print(rows[-1], flush=True)
    noise = fit_set(500, options.snr, options.seeds[0], "noise", {})
    rows.append({"run": "noise alone", "images": 500, **noise})
    if options.variants:
        for name, settings in VARIANTS.items():
            result = fit_set(2000, options.snr, options.seeds[0], "rigid", settings)
            rows.append({"run": name, "images": 2000, **result})
            print(rows[-1], flush=True)
    columns = ["run", "images", "median", "below_10", "below_20", "beyond_90", "seconds"]
    print_table([*rows, PEER], [*columns, "images_per_second"])
    write_json(
        options.json, "abinitio_amortised", {"machine": machine(), "rows": rows, "peer": PEER}
    )


if __name__ == "__main__":
    main()

"""Plant errors of 3° and 2 Å in true poses, and see what `--do-pose-sgd` mends, and in what time.

    python benchmarks/latent_poses.py --images 2000 --epochs 20

One row a way of moving poses: not at all, by gradient steps (cryoDRGN's), by Gauss–Newton steps.
The set is a molecule on a hinge, 32², SNR 2, whose images allow a median of about 1.7°; medians are
over all images, after the best common rotation, which no image fixes.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from record import machine, print_table, write_json

WAYS: dict[str, dict[str, Any]] = {
    "poses as planted": {"refine_poses": False},
    "gradient steps, 0.1": {"refine_poses": True, "pose_steps": 0, "pose_rate": 0.1},
    "gradient steps, 0.4": {"refine_poses": True, "pose_steps": 0, "pose_rate": 0.4},
    "one Gauss–Newton step": {"refine_poses": True, "pose_steps": 1},
    "two Gauss–Newton steps": {"refine_poses": True, "pose_steps": 2},
}


def write_set(folder: Path, images: int, degrees: float, length: float, seed: int) -> Any:
    """Write a set whose poses are off by errors of so many degrees and Å in the median."""
    from vitreous.geometry.rotations import rotation_vector_to_matrix
    from vitreous.particles.stack import write_stack
    from vitreous.simulation.blobs import PIXEL_SIZE, blob_set

    blobs = blob_set("hinge", images, 2.0, seed)
    write_stack(folder / "particles.mrcs", blobs.source.images, PIXEL_SIZE)
    rng = np.random.default_rng(seed + 100)
    turn = rng.normal(size=(images, 3))
    # Lengths of Gaussian vectors have medians of 1.538 (three axes) and 1.177 (two).
    turn *= degrees / 1.538
    off = rng.normal(size=(images, 2)) * length / 1.177
    wrong = np.einsum("nij,njk->nik", rotation_vector_to_matrix(turn), blobs.rotation)
    table = blobs.table.replace(
        stacks=(str(folder / "particles.mrcs"),),
        rotation=wrong.astype(np.float32),
        shift=(blobs.shift + off).astype(np.float32),
    )
    table.to_star(folder / "wrong.star")
    return blobs


def fit_way(folder: Path, blobs: Any, kind: str, epochs: int, way: dict[str, Any]) -> dict:
    """Train once; return errors of the poses that the run ends with."""
    from vitreous.methods.latent.config import LatentConfig
    from vitreous.methods.latent.fit import train
    from vitreous.metrics.poses import pose_errors
    from vitreous.training.fit import FitOptions

    config = LatentConfig(kind=kind, zdim=2, epochs=epochs, pretrain_pose=2, **way)
    options = FitOptions(quiet=True, checkpoint_every=epochs)
    start, cpu = time.perf_counter(), time.process_time()
    run = train(folder / "wrong.star", folder / "run", config, options=options, overwrite=True)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    table = run.table()
    errors = pose_errors(table.rotation, blobs.rotation, table.shift, blobs.shift)
    assert errors.shift is not None
    z = run.latents().mean
    design = np.concatenate([z, np.ones((len(z), 1))], axis=1)
    fitted = design @ np.linalg.lstsq(design, blobs.angle, rcond=None)[0]
    return {
        "angle, °": round(float(np.median(errors.angle)), 2),
        "shift, Å": round(float(np.median(errors.shift)), 2),
        "latent r": round(float(np.corrcoef(fitted, blobs.angle)[0, 1]), 3),
        "seconds": round(seconds),
        "CPU seconds": round(cpu),
    }


def main() -> None:
    """Run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--kinds", nargs="+", default=["vae", "autodecoder"])
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=None)
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        blobs = write_set(folder, args.images, 3.0, 2.0, args.seed)
        for kind in args.kinds:
            for name in args.ways:
                result = fit_way(folder, blobs, kind, args.epochs, WAYS[name])
                rows.append({"model": kind, "poses": name} | result)
                columns = ["angle, °", "shift, Å", "latent r", "seconds", "CPU seconds"]
                print_table(rows, ["model", "poses", *columns])
    settings = {"images": args.images, "epochs": args.epochs, "seed": args.seed}
    write_json(
        args.json, "latent_poses", {"machine": machine(), "settings": settings, "rows": rows}
    )


if __name__ == "__main__":
    main()

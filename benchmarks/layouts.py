"""Every fit and pass on one device, in two processes, and on eight devices of one: the same?

    python benchmarks/layouts.py                        # all, both layouts
    python benchmarks/layouts.py --only train-nn regress --layouts 2x1
    python benchmarks/layouts.py --twice                # each layout twice: the same bits?

Commands are run as a user runs them, on a few simulated images. What they leave (arrays, maps,
stacks) is compared with what one device in one process leaves: the largest difference as a share of
the largest value of each file. Fits take few steps: a gradient near zero may still turn a step of
Adam, so their bound is wider than that of sums.
"""

import argparse
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from record import machine, print_table, write_json

from vitreous.mrc import read_sections
from vitreous.simulation import HingeMotion, ParticleOptions, hinge_phantom, simulate_particles

VITREOUS = (sys.executable, "-m", "vitreous.cli.main")
# Of sums in float32; of fits, whose every step follows the last.
SUMS, FITS = 2e-5, 2e-2


@dataclass(frozen=True)
class Trial:
    """Say what is run. `{set}`, `{out}` and `{runs}` in its words stand for folders.

    **Fields:** `words`: of the command. `bound`: on the difference. `files`: what is compared.
    """

    words: tuple[str, ...]
    bound: float
    files: tuple[str, ...]
    status: int = 0


STAR = "{set}/particles.star"
TRIALS = {
    "downsample": Trial(
        ("downsample", STAR, "-D", "16", "-o", "{out}/small.mrcs"), 1e-5, ("small.mrcs",)
    ),
    "check": Trial(("check", STAR, "-o", "{out}"), 0.0, (), status=1),
    "backproject-voxel": Trial(
        ("backproject-voxel", STAR, "-o", "{out}"), SUMS, ("backproject.mrc", "half_map_a.mrc")
    ),
    "train-nn": Trial(
        ("train-nn", STAR, "-o", "{out}", "-n", "1", "--dim", "16", "--layers", "1"),
        FITS,
        ("reconstruct.1.mrc",),
    ),
    "train-vae": Trial(
        ("train-vae", STAR, "-o", "{out}", "-n", "1", "--zdim", "2", "--enc-dim", "16",
         "--enc-layers", "1", "--dec-dim", "16", "--dec-layers", "1", "--no-analysis"),
        FITS,
        ("latents.npz",),
    ),
    "train-dec": Trial(
        ("train-dec", STAR, "-o", "{out}", "-n", "1", "--zdim", "2", "--dec-dim", "16",
         "--dec-layers", "1", "--no-analysis"),
        FITS,
        ("latents.npz",),
    ),
    "train-subspace": Trial(
        ("train-subspace", STAR, "-o", "{out}", "--zdim", "2", "--keep-all", "--no-analysis"),
        FITS,
        ("latents.npz",),
    ),
    "eval-images": Trial(
        ("eval-images", "{runs}/train-subspace", STAR, "-o", "{out}"), FITS, ("latents.npz",)
    ),
    "abinit": Trial(
        # A search from nothing takes sides: see docs/scale.md.
        ("abinit", STAR, "-o", "{out}", "--initial-map", "{set}/map.mrc", "--keep-map",
         "--no-analysis"),
        FITS,
        ("volumes/half_map_a.mrc",),
    ),
    "regress": Trial(
        ("regress", "{runs}/train-subspace", "--image", "0", "-o", "{out}"),
        SUMS,
        ("vol_000.mrc", "vol_000_half1.mrc"),
    ),
    "optimize-deformations": Trial(
        ("optimize-deformations", STAR, "{out}", "--n-gaussians", "40", "-n", "2",
         "--n-warmup-epochs", "1", "--n-latent-dims", "2", "--no-analysis"),
        FITS,
        ("latents.npz",),
    ),
    "deformable-backprojection": Trial(
        ("deformable-backprojection", "{runs}/optimize-deformations", "-o", "{out}"),
        SUMS,
        ("map.mrc", "map_half1.mrc", "plain_map.mrc"),
    ),
    "match-template": Trial(
        ("match-template", "{set}/mic.mrc", "--template", "{set}/map.mrc", "--step", "40",
         "--defocus", "15000", "15000", "0", "-o", "{out}"),
        1e-5,
        ("mic/max_snr.mrc", "mic/rot.mrc", "mic/mean.mrc"),
    ),
}  # fmt: skip


def make_set(folder: Path, count: int, box: int) -> None:
    """Simulate particles of a hinge, and a micrograph of noise."""
    from vitreous.particles import write_map

    motion = HingeMotion(hinge_phantom(), box=box, pixel_size=160 / box, states=4)
    simulate_particles(motion, folder, ParticleOptions(count=count, snr=1.0, max_shift=4.0))
    write_map(folder / "map.mrc", motion.volumes()[0], 160 / box)
    noise = np.random.default_rng(0).normal(size=(1, 80, 72)).astype(np.float32)
    write_map(folder / "mic.mrc", noise, 160 / box)


def run(trial: Trial, layout: str, places: dict[str, Path], limit: float) -> float:
    """Run a command in a layout, `processes x devices`; the seconds of processors it took.

    **Raises:** `SystemExit` with what it said if it fails.
    """
    processes, devices = (int(word) for word in layout.split("x"))
    words = [word.format(**places) for word in trial.words]
    command = [*VITREOUS, *words]
    if processes > 1:
        launch = ["launch", "-n", str(processes), "--logs", str(places["out"]) + ".logs", "--"]
        command = [*VITREOUS, *launch, *words]
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": str(devices)}
    if devices > 1:
        # See docs/scale.md: one program at a time, a thread for each device.
        environment |= {"NPROC": str(2 * devices), "JAX_CPU_ENABLE_ASYNC_DISPATCH": "0"}
    before = os.times()
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=limit, check=False
    )
    if done.returncode not in (0, trial.status):
        raise SystemExit(f"{layout} {' '.join(words)}: {done.returncode}\n{done.stderr[-3000:]}")
    after = os.times()
    return after.children_user + after.children_system - before[2] - before[3]


def read(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of a file."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    if path.suffix == ".pkl":
        with path.open("rb") as file:
            return {"pickle": np.asarray(pickle.load(file))}
    return {"pixels": read_sections(path)[1]}


def difference(first: Path, second: Path) -> float:
    """Return the largest difference of two files as a share of the largest value."""
    one, two = read(first), read(second)
    worst = 0.0
    for name, values in one.items():
        a, b = np.asarray(values, np.float64), np.asarray(two[name], np.float64)
        if a.shape != b.shape:
            raise SystemExit(f"{second}: {b.shape} instead of {a.shape}")
        worst = max(worst, float(np.abs(a - b).max()) / max(float(np.abs(a).max()), 1e-30))
    return worst


def main() -> None:
    """Run the trials, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=list(TRIALS), choices=list(TRIALS))
    parser.add_argument("--layouts", nargs="*", default=["2x1", "1x8"])
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--box", type=int, default=24)
    parser.add_argument("--twice", action="store_true")
    parser.add_argument("--limit", type=float, default=3600, help="seconds for each command")
    parser.add_argument("--keep", type=Path, default=None, help="folder that stays")
    parser.add_argument("--json", type=Path, default=None)
    args = parser.parse_args()
    rows, began = [], time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary)
        if not (folder / "set" / "particles.star").exists():
            make_set(folder / "set", args.images, args.box)
        places = {"set": folder / "set", "runs": folder / "1x1"}
        for name in args.only:
            trial = TRIALS[name]
            for layout in ("1x1", *args.layouts):
                places["out"] = folder / layout / name
                if layout == "1x1" and places["out"].exists():
                    continue
                places["out"].parent.mkdir(parents=True, exist_ok=True)
                shutil.rmtree(places["out"], ignore_errors=True)
                row = {"command": name, "layout": layout}
                row["cpu s"] = round(run(trial, layout, dict(places), args.limit), 1)
                whole = folder / "1x1" / name
                differences = [difference(whole / f, places["out"] / f) for f in trial.files]
                row["difference"] = float(f"{max(differences, default=0.0):.2g}")
                row["bound"] = trial.bound
                if args.twice and layout != "1x1":
                    again = dict(places) | {"out": folder / f"{layout}-again" / name}
                    shutil.rmtree(again["out"], ignore_errors=True)
                    run(trial, layout, again, args.limit)
                    same = [difference(places["out"] / f, again["out"] / f) for f in trial.files]
                    row["same bits"] = max(same, default=0.0) == 0
                rows.append(row)
                print(row, flush=True)
    print_table(rows, ["command", "layout", "difference", "bound", "same bits", "cpu s"])
    about = {"images": args.images, "box": args.box, "seconds": round(time.monotonic() - began)}
    write_json(args.json, "layouts", {"machine": machine(), **about, "rows": rows})
    if any(row["difference"] > row["bound"] or row.get("same bits") is False for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()

"""Measure template matching: orientations a second on a micrograph, and how sure it is.

    python benchmarks/match_template.py --orientations 10000 --size 1024

A micrograph with particles is simulated (the hinging molecule, 40 e/Å²) and searched with the
orientations of an even grid, after those of the particles. Compilation is not counted. CPU seconds
an orientation say what the search costs where the machine is shared.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from record import machine, print_table, write_json

from vitreous.geometry.rotations import matrix_to_euler
from vitreous.simulation import HingeMotion, MapStates, MicrographOptions, hinge_phantom
from vitreous.simulation.field_of_view import image_field
from vitreous.simulation.field_recording import record_field
from vitreous.simulation.field_truth import draw_field
from vitreous.simulation.matching import MatchOptions, match_template, search_angles


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--orientations", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--box", type=int, default=96)
    parser.add_argument("--pixel", type=float, default=2.1)
    parser.add_argument("--particles", type=int, default=40)
    parser.add_argument("--defoci", type=int, default=1, help="an odd number")
    parser.add_argument("--batch", type=int, default=None)
    parser.add_argument("--json", type=Path, default=None)
    args = parser.parse_args()
    motion = HingeMotion(hinge_phantom(), args.box, args.pixel, 20.0, 20.0, states=1)
    specimen = MapStates.of(motion.volumes(), args.pixel)
    scene = MicrographOptions(
        size=(args.size, args.size), particles=args.particles, min_distance=180.0
    )
    truth = draw_field(specimen, scene, 0)
    signal = image_field(specimen, truth, scene, 0)
    image, _ = record_field(signal, truth, scene, args.box, args.pixel, 0)

    angles = matrix_to_euler(truth.rotation.astype(np.float64))
    grid = search_angles(5.0)
    missing = max(0, args.orientations - len(angles))
    spread = np.linspace(0, len(grid) - 1, missing).astype(np.int64)
    angles = np.concatenate([angles, grid[spread]])[: args.orientations]
    options = MatchOptions(
        defocus_range=100.0 * (args.defoci - 1), defocus_step=200.0, batch=args.batch
    )
    match_template(image, specimen, truth.ctf, options, angles[:128])
    begun, used = time.perf_counter(), time.process_time()
    match = match_template(image, specimen, truth.ctf, options, angles)
    clock, used = time.perf_counter() - begun, time.process_time() - used

    apart = np.linalg.norm(match.places[:, None, ::-1] - truth.place[None], axis=-1)
    row = {
        "what": f"{len(angles):,} orientations × {len(match.offsets)} × {args.size}²",
        "orientations/s": round(len(angles) / clock, 1),
        "seconds": round(clock, 1),
        "CPU ms each": round(1e3 * used / len(angles), 2),
        "threshold": round(match.threshold, 2),
        "found": f"{int((apart.min(axis=0, initial=np.inf) < 3).sum())} of {args.particles}",
        "elsewhere": int((apart.min(axis=1, initial=np.inf) > 3).sum()),
    }
    print_table([row], list(row))
    write_json(args.json, "match_template", {"machine": machine(), "rows": [row]})


if __name__ == "__main__":
    main()

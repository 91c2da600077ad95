"""Lay turned, shifted and mirrored maps onto each other: errors and seconds, by box and noise.

Chains of Gaussians in closed form, so that no interpolation hides in the truth. `noise`: its
standard deviation in the fixed map, over that of the map. Errors are medians over the trials;
`lost` counts trials off by more than 10° or of the wrong hand. Seconds without compilation.

    python benchmarks/volume_alignment.py [--boxes 32 48 64 128] [--trials 6]
"""

import argparse
import time
from pathlib import Path

import numpy as np
from record import machine, print_table, write_json
from scipy.spatial.transform import Rotation


def chain(
    box: int, seed: int, turn: np.ndarray, shift: np.ndarray, is_mirrored: bool
) -> np.ndarray:
    """Draw a chain of 20 blobs that fills 40 % of the box, moved in closed form."""
    rng = np.random.default_rng(seed)
    centres = np.cumsum(rng.standard_normal((20, 3)), axis=0)
    centres = 0.2 * box * (centres - centres.mean(axis=0)) / np.abs(centres).max()
    weights = rng.uniform(0.6, 1.4, 20)
    centres = centres * ([1, 1, -1] if is_mirrored else [1, 1, 1]) @ turn.T + shift
    axis = np.arange(box) - box // 2
    width = 1.3 * box / 32
    bells = np.exp(-((axis - centres[:, :, None]) ** 2) / (2 * width**2))
    volume = np.einsum("b,bz,by,bx->zyx", weights, bells[:, 2], bells[:, 1], bells[:, 0])
    return volume.astype(np.float32)


def trial(box: int, noise: float, seed: int) -> tuple[float, float, bool, float]:
    """Align one pair; return degrees, voxels, whether the hand is right, and seconds."""
    from vitreous.geometry.rotations import geodesic_distance
    from vitreous.reconstruction.volume_alignment import align_volumes

    rng = np.random.default_rng(seed)
    turn = Rotation.random(random_state=seed).as_matrix()
    shift = rng.uniform(-0.1, 0.1, 3) * box
    is_mirrored = bool(seed % 2)
    moving = chain(box, seed, np.eye(3), np.zeros(3), False)
    fixed = chain(box, seed, turn, shift, is_mirrored)
    fixed = fixed + noise * fixed.std() * rng.standard_normal(fixed.shape).astype(np.float32)
    start = time.perf_counter()
    found = align_volumes(moving, fixed)
    seconds = time.perf_counter() - start
    angle = float(geodesic_distance(found.rotation[None], turn[None])[0])
    off = float(np.linalg.norm(found.shift - shift))
    return angle, off, found.is_mirrored == is_mirrored, seconds


def main() -> None:
    """Try all boxes and levels of noise."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--boxes", type=int, nargs="+", default=[32, 48, 64, 128])
    parser.add_argument("--noise", type=float, nargs="+", default=[0.0, 1.0])
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--json", type=Path, default=None)
    args = parser.parse_args()
    rows = []
    for box in args.boxes:
        trial(box, 0.0, 0)
        for noise in args.noise:
            made = [trial(box, noise, seed) for seed in range(args.trials)]
            angle, off, right, seconds = (np.array(part) for part in zip(*made, strict=True))
            rows.append(
                {
                    "box": box,
                    "noise": noise,
                    "degrees": round(float(np.median(angle)), 3),
                    "voxels": round(float(np.median(off)), 3),
                    "lost": int(np.sum((angle > 10) | ~right)),
                    "trials": args.trials,
                    "seconds": round(float(np.median(seconds)), 2),
                }
            )
    print_table(rows, list(rows[0]))
    write_json(args.json, "volume_alignment", {"machine": machine(), "rows": rows})


if __name__ == "__main__":
    main()

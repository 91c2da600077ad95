"""Morphing measured: accuracy beside the peer's settings, cost against the box, real shapes.

    python benchmarks/morph.py [hinge] [boxes] [noise] [antibody] [--structure 1igy.cif] [-o FILE]

`hinge`: two lumps of 200 pseudo-atoms, 32 voxels, the upper one turned by 25° (300 steps), ours
and the peer's settings in the same program, at the default ε and at that of large boxes.
`boxes`: seconds a step for the same molecule in boxes of 32 to 96 voxels. `noise`: the hinge from
a sharp map onto one blurred to 7 Å and noisy. `antibody`: one Fab of 1IGY turned by 30°, 128
voxels of 2 Å, through `morph-train`'s own function.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import scipy.ndimage
from scipy.spatial import KDTree

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "methods" / "morph"))
from record import RESULTS, machine
from two_domains import density, two_domains

from vitreous.cli.common import start_jax
from vitreous.geometry.rotations import rotation_vector_to_matrix
from vitreous.imaging.atoms import Atoms, scattering_gaussians
from vitreous.imaging.gaussians import gaussian_map
from vitreous.maps import Map, write_map
from vitreous.methods.morph.config import MorphConfig, peer_settings
from vitreous.methods.morph.fit import fit_morph
from vitreous.methods.morph.flow import carry_points
from vitreous.methods.morph.predict import measure_motion, push_frames
from vitreous.methods.morph.prepare import prepare_morph
from vitreous.methods.morph.scores import correlation, resolution_at, shell_curve
from vitreous.methods.morph.thresholds import cut
from vitreous.methods.morph.train import MorphInputs, train_morph


class Clock:
    """Time the steps between the first report after compiling and the last."""

    def __init__(self) -> None:
        self.marks: list[tuple[int, float, float]] = []

    def __call__(self, report) -> None:
        self.marks.append((report.iteration, time.perf_counter(), time.process_time()))

    def per_step(self) -> tuple[float, float]:
        (i, wall, cpu), (j, wall_end, cpu_end) = self.marks[1], self.marks[-1]
        return (wall_end - wall) / (j - i), (cpu_end - cpu) / (j - i)


def rms(end: np.ndarray, truth: np.ndarray, which: np.ndarray) -> float:
    return float(np.sqrt(((end - truth) ** 2).sum(1)[which].mean()))


def carried(flow, atoms: np.ndarray, centre: float, scale: float = 1.0) -> np.ndarray:
    start = (atoms * scale + centre).astype(np.float32)
    end = carry_points(flow.velocity, start, [1.0], flow.steps, flow.scheme)[0]
    return (end - centre) / scale


def hinge(config: MorphConfig, box: int = 32) -> dict:
    before, after, moves = two_domains()
    a, b = Map(density(before, box), 1.0), Map(density(after, box), 1.0)
    low, high = (0.15 * float(m.data.max()) for m in (a, b))
    began, clock = time.perf_counter(), Clock()
    problem = prepare_morph(a, [b], config, low, [high])
    result = fit_morph(problem, config, on_report=clock)
    seconds = time.perf_counter() - began
    first, last = cut(a, low, "a"), cut(b, high, "b")
    frame = push_frames(result.flow, first, [1.0])[0]
    end = carried(result.flow, before, box // 2, box / 32)
    wall, cpu = clock.per_step()
    return {
        "correlation_before": correlation(first.data, last.data),
        "correlation": correlation(frame, last.data),
        "moving_rmse_px": rms(end, after, moves) * box / 32,
        "resting_rmse_px": rms(end, after, ~moves) * box / 32,
        "least_volume": measure_motion(result.flow, first).facts()["volume_least"],
        "wall_per_step": wall,
        "cpu_per_step": cpu,
        "seconds": seconds,
        "levels": [[round(lv.voxel, 3), len(lv.points), lv.steps] for lv in problem.levels],
    }


def run_hinge() -> dict:
    large = 2.56 / 32**2
    runs = {
        "ours": MorphConfig(),
        "ours, ε n² = 2.56": MorphConfig(w2_eps=large),
        "ours, spline": MorphConfig(velocity="spline"),
        "peer's settings": peer_settings(MorphConfig()),
        "peer's settings, ε n² = 2.56": peer_settings(MorphConfig(w2_eps=large)),
    }
    print(f"{'':32s}{'CC':>8s}{'moving':>8s}{'resting':>8s}{'det F':>7s}{'s/step':>8s}{'cpu':>7s}")
    found = {}
    for name, config in runs.items():
        r = found[name] = hinge(config)
        print(
            f"{name:32s}{r['correlation']:8.4f}{r['moving_rmse_px']:8.2f}"
            f"{r['resting_rmse_px']:8.2f}{r['least_volume']:7.2f}{r['wall_per_step']:8.3f}"
            f"{r['cpu_per_step']:7.3f}",
            flush=True,
        )
    return found


def seconds_per_step(config: MorphConfig, box: int) -> tuple[float, float]:
    """Time a fit of all levels once everything is compiled; give wall and CPU seconds a step."""
    before, after, _ = two_domains()
    a, b = Map(density(before, box), 1.0), Map(density(after, box), 1.0)
    problem = prepare_morph(a, [b], config)
    fit_morph(problem, config)
    wall, cpu = time.perf_counter(), time.process_time()
    fit_morph(problem, config)
    spent = time.perf_counter() - wall, time.process_time() - cpu
    return spent[0] / config.iterations, spent[1] / config.iterations


def run_boxes() -> dict:
    found = {}
    print("box   ours: wall, cpu s/step (all levels)   peer's settings: wall, cpu")
    for box in (32, 48, 64, 96):
        ours = seconds_per_step(MorphConfig(iterations=20, period=10), box)
        found[str(box)] = {"ours": ours}
        words = f"{box:3d} {ours[0]:14.3f} {ours[1]:8.3f}"
        if box <= 64:
            peer = seconds_per_step(peer_settings(MorphConfig(iterations=4, period=4)), box)
            found[str(box)]["peer"] = peer
            words += f" {peer[0]:18.3f} {peer[1]:8.3f}"
        print(words, flush=True)
    power = np.log(found["96"]["ours"][1] / found["32"]["ours"][1]) / np.log(3)
    print(f"ours grows from 32 to 96 as n^{power:.2f} (cpu)")
    return found | {"power": float(power)}


def blurred_and_noisy(truth: np.ndarray, voxel: float, resolution: float, rng) -> np.ndarray:
    """Blur a map and add white noise until its FSC with itself falls to ½ at a resolution."""
    soft = scipy.ndimage.gaussian_filter(truth, 0.225 * resolution / voxel, mode="constant")
    noise = rng.normal(size=truth.shape).astype(np.float32)
    low, high = 1e-6, 10.0
    for _ in range(30):
        middle = np.sqrt(low * high)
        curve = shell_curve(truth, (soft + middle * soft.max() * noise).astype(np.float32))
        low, high = (
            (middle, high) if resolution_at(curve, voxel, 0.5) < resolution else (low, middle)
        )
    return (soft + low * soft.max() * noise).astype(np.float32)


def run_noise() -> dict:
    voxel, box = 1.5, 64
    before, after, _ = two_domains()
    # A sharp map: pseudo-atoms of σ 1.2 Å, far finer than the target.
    scale = box / 32
    maps = [density(atoms, box, 0.8 / scale) for atoms in (before, after)]
    truth = maps[1]
    target = blurred_and_noisy(truth, voxel, 7.0, np.random.default_rng(0))
    config = MorphConfig()
    source = Map(maps[0], voxel)
    problem = prepare_morph(source, [Map(target, voxel)], config)
    result = fit_morph(problem, config)
    frame = push_frames(result.flow, cut(source, problem.thresholds[0], "a"), [1.0])[0]
    names = {"target": target, "initial map": maps[0], "prediction": frame}
    found = {n: resolution_at(shell_curve(m, truth), voxel, 0.5) for n, m in names.items()}
    for name, value in found.items():
        print(f"FSC 0.5 of the {name} with the true sharp map: {value:.2f} Å")
    gain = 1 - found["prediction"] / found["target"]
    print(f"finer than the target by {gain:.0%}", flush=True)
    return found | {"gain": gain, "blur_found": problem.blur}


def turned_antibody(path: Path, angle: float) -> tuple[np.ndarray, ...]:
    """Turn one Fab (chain A, chain B up to residue 230) of 1IGY about where it meets the Fc."""
    import gemmi

    structure = gemmi.read_structure(str(path))
    structure.remove_hydrogens()
    sites = [(c.name, r.seqid.num, a) for c in structure[0] for r in c for a in r]
    position = np.array([a.pos.tolist() for *_, a in sites])
    number = np.array([a.element.atomic_number for *_, a in sites], np.int32)
    fab = np.array([c == "A" or (c == "B" and n <= 230) for c, n, _ in sites])
    fc = np.array([c in "BD" and n > 240 for c, n, _ in sites])
    position -= position.mean(0)
    gap = ((position[fab][::5, None] - position[fc][None, ::7]) ** 2).sum(-1).min(1)
    pivot = position[fab][::5][gap.argmin()]
    axis = np.cross(position[fab].mean(0) - pivot, position[fc].mean(0) - pivot)
    axis /= np.linalg.norm(axis)
    turned, clash = [], []
    for sign in (1, -1):
        moved = position.copy()
        turn = rotation_vector_to_matrix(axis * angle * sign)
        moved[fab] = (position[fab] - pivot) @ turn.T + pivot
        near = ((moved[fab][::7, None] - moved[~fab][None, ::7]) ** 2).sum(-1).min(1)
        turned.append(moved)
        clash.append(float((near < 16).mean()))
    return position, turned[int(np.argmin(clash))], fab, number


def bond_changes(before: np.ndarray, end: np.ndarray) -> dict[str, float]:
    """Compare distances of bonded atoms (1.9 Å at most): median and 99 % of the relative change."""
    pairs = KDTree(before).query_pairs(1.9, output_type="ndarray")
    old, new = (np.linalg.norm(x[pairs[:, 0]] - x[pairs[:, 1]], axis=1) for x in (before, end))
    half, most = np.percentile(np.abs(new / old - 1), (50, 99))
    return {"median": float(half), "99 %": float(most)}


def run_antibody(structure: Path, iterations: int) -> dict:
    before, after, fab, number = turned_antibody(structure, 30.0)
    none, full = np.zeros(len(number), np.float32), np.ones(len(number), np.float32)

    def lay(x: np.ndarray) -> np.ndarray:
        atoms = Atoms(x.astype(np.float32), number, none, full)
        return np.asarray(gaussian_map(scattering_gaussians(atoms, False, 100.0), 128, 2.0))

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for state, x in (("a", before), ("b", after)):
            write_map(folder / f"{state}.mrc", lay(x), 2.0)
        inputs = MorphInputs(folder / "a.mrc", (folder / "b.mrc",))
        began = time.perf_counter(), time.process_time()
        outcome = train_morph(inputs, MorphConfig(iterations=iterations), folder / "out")
        wall, cpu = time.perf_counter() - began[0], time.process_time() - began[1]
    end = carried(outcome.flow, before, 128.0)
    keep = ("correlation_before", "correlation", "displacement_rms", "volume_least", "volume_most")
    found = {k: outcome.figures[k] for k in keep}
    found |= {
        "fab_moved_rms": rms(before, after, fab),
        "fab_rmse": rms(end, after, fab),
        "rest_rmse": rms(end, after, ~fab),
        "bonds": bond_changes(before, end),
        "seconds": wall,
        "cpu_seconds": cpu,
    }
    print(
        f"CC {found['correlation_before']:.4f} → {found['correlation']:.4f}; Fab atoms "
        f"{found['fab_moved_rms']:.1f} → {found['fab_rmse']:.2f} Å, the rest "
        f"{found['rest_rmse']:.2f} Å; det F {found['volume_least']:.2f} … "
        f"{found['volume_most']:.2f}; bonds change by "
        f"{found['bonds']['median']:.1%} ({found['bonds']['99 %']:.0%} at 99 %); {wall:.0f} s "
        f"({cpu:.0f} s cpu)",
        flush=True,
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=[])
    parser.add_argument(
        "--structure", type=Path, default=Path("../shared/data/structures/1igy.cif")
    )
    parser.add_argument("--iterations", type=int, default=300, help="of the antibody")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / "morph.json")
    options = parser.parse_args()
    start_jax()
    parts = {
        "hinge": run_hinge,
        "boxes": run_boxes,
        "noise": run_noise,
        "antibody": lambda: run_antibody(options.structure, options.iterations),
    }
    results = json.loads(options.output.read_text()) if options.output.exists() else {}
    for name in options.parts or parts:
        print(f"— {name}")
        results[name] = parts[name]() | {"machine": machine()}
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()

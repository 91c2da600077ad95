"""`morph-train` as a function: maps in, weights, losses and a report of figures out."""

import dataclasses
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vitreous.errors import InputError
from vitreous.files import write_text
from vitreous.maps import Map, read_map
from vitreous.methods.morph.config import MorphConfig
from vitreous.methods.morph.course import FitResult, Report
from vitreous.methods.morph.fit import fit_morph
from vitreous.methods.morph.lattice import resample_like
from vitreous.methods.morph.predict import Motion, frame_times, measure_motion, push_frames
from vitreous.methods.morph.prepare import Problem, prepare_morph
from vitreous.methods.morph.scores import HalfMapScore, correlation, resolution_at, shell_curve
from vitreous.methods.morph.velocity import Velocity
from vitreous.methods.morph.weights import Flow, read_weights, write_weights

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MorphInputs:
    """Name the maps of a fit.

    **Fields:** `initial` and `targets`, with thresholds (None chooses) and masks. `half_maps` of
    the only target: the first is fitted, the second decides when to stop. `weights` to go on
    from. `voxel_size`: in place of the headers'.
    """

    initial: Path
    targets: tuple[Path, ...] = ()
    initial_threshold: float | None = None
    target_thresholds: tuple[float, ...] = ()
    initial_mask: Path | None = None
    target_mask: Path | None = None
    half_maps: tuple[Path, Path] | None = None
    weights: Path | None = None
    voxel_size: float | None = None


@dataclass(frozen=True, eq=False)
class Trained:
    """Hold the outcome: the flow, what it was fitted to, frames and figures."""

    result: FitResult
    problem: Problem
    frames: list[np.ndarray]
    motion: Motion
    curves: dict[str, np.ndarray]
    figures: dict[str, Any]

    @property
    def flow(self) -> Flow:
        """The flow found."""
        return self.result.flow


def train_morph(
    inputs: MorphInputs,
    config: MorphConfig,
    directory: Path,
    on_report: Callable[[Report, float], None] | None = None,
) -> Trained:
    """Fit a flow and write `net_0.pt, net_1.pt, …, net.pt`, `loss.log` and `report.json`.

    **Arguments:** `on_report`: called with each report and the seconds since the fit began.

    **Raises:** `InputError` before anything is written if a file, threshold or weight is unusable.
    """
    source, targets, halves = _read_all(inputs)
    if len(targets) > 1 and config.velocity == "mlp" and not config.is_peer:
        config = dataclasses.replace(config, is_time_dependent=True)
    thresholds: Sequence[float | None] = inputs.target_thresholds or (None,) * len(targets)
    if len(thresholds) != len(targets):
        raise InputError(
            f"-t1 gives {len(thresholds)} thresholds for {len(targets)} target maps; "
            "give one each, or none"
        )
    names = [str(inputs.initial)] + [str(p) for p in inputs.targets or (inputs.half_maps or ())[:1]]
    problem = prepare_morph(source, targets, config, inputs.initial_threshold, thresholds, names)
    start = _read_start(inputs, config, source)
    validate = None
    if halves is not None:
        validate = HalfMapScore(problem.source, problem.targets[0], *halves)
    directory.mkdir(parents=True, exist_ok=True)
    for old in directory.glob("net_*.pt"):
        old.unlink()
    losses = directory / "loss.log"
    write_text(losses, "")
    began = time.monotonic()

    def tell(report: Report) -> None:
        write_weights(directory / f"net_{report.number}.pt", report.flow)
        with losses.open("a", encoding="utf-8") as handle:
            handle.writelines(f"{loss:.18e}\n" for loss in report.losses)
        if on_report is not None:
            on_report(report, time.monotonic() - began)

    result = fit_morph(problem, config, start, tell, validate)
    write_weights(directory / "net.pt", result.flow)
    outcome = _judge(problem, config, result, time.monotonic() - began, validate)
    write_text(directory / "report.json", json.dumps(outcome.figures, indent=2) + "\n")
    return outcome


def _read_all(inputs: MorphInputs) -> tuple[Map, list[Map], tuple[Map, Map] | None]:
    """Read every map and mask."""

    def read(path: Path) -> Map:
        found = read_map(path, inputs.voxel_size)
        if not found.data.any():
            raise InputError(f"{path}: every voxel is zero")
        return found

    source = _masked(read(inputs.initial), inputs.initial_mask, inputs.voxel_size)
    halves = None
    if inputs.half_maps is not None:
        if len(inputs.targets) > 1:
            raise InputError("--half1 and --half2 belong to one target; give one -i1 or none")
        first, second = map(read, inputs.half_maps)
        if first.data.shape != second.data.shape:
            raise InputError(f"{inputs.half_maps[1]}: its box is not that of {inputs.half_maps[0]}")
        halves = (first, second)
    paths = inputs.targets
    if halves is not None:
        for path in paths:
            read(path)
        targets = [halves[0]]
    elif not paths:
        raise InputError("give a target map: -i1 target.mrc, or --half1 and --half2")
    else:
        targets = [read(path) for path in paths]
    targets = [_masked(t, inputs.target_mask, inputs.voxel_size) for t in targets]
    return source, targets, halves


def _masked(a_map: Map, mask: Path | None, voxel_size: float | None) -> Map:
    """Multiply a map by a mask, which may lie on another lattice."""
    if mask is None:
        return a_map
    soft = resample_like(read_map(mask, voxel_size), a_map)
    if not (soft.data > 0).any():
        raise InputError(f"{mask}: is zero wherever the map has voxels; check its origin")
    return dataclasses.replace(a_map, data=a_map.data * np.clip(soft.data, 0, 1))


def _read_start(inputs: MorphInputs, config: MorphConfig, source: Map) -> Velocity | None:
    """Read the weights to go on from."""
    if inputs.weights is None:
        return None
    flow = read_weights(inputs.weights, source)
    if config.is_peer and not flow.is_peer:
        raise InputError(f"{inputs.weights}: is no weight file of the peer; leave out --compat")
    if not config.is_peer and flow.symmetry != config.symmetry:
        raise InputError(
            f"{inputs.weights}: was fitted with --sym {flow.symmetry}, not {config.symmetry}"
        )
    return flow.velocity


def _judge(
    problem: Problem,
    config: MorphConfig,
    result: FitResult,
    seconds: float,
    validate: HalfMapScore | None,
) -> Trained:
    """Measure the outcome on the lattice of the fit, at the maps' own sharpness."""
    source, target = problem.source, problem.targets[-1]
    times = frame_times(11)
    frames = push_frames(result.flow, source, times)
    motion = measure_motion(result.flow, source)
    curves = {
        "before": shell_curve(source.data, target.data),
        "after": shell_curve(frames[-1], target.data),
    }
    if validate is not None:
        curves["held-out half map"] = validate.curve(result.flow)
    voxel = source.voxel_size
    figures: dict[str, Any] = {
        "correlation_before": correlation(source.data, target.data),
        "correlation": correlation(frames[-1], target.data),
        "resolution_fsc_0.5_before": resolution_at(curves["before"], voxel, 0.5),
        "resolution_fsc_0.5": resolution_at(curves["after"], voxel, 0.5),
        **motion.facts(),
        **{f"final_{name}": value for name, value in result.values.items()},
        "iterations": result.iterations,
        "best_iteration": result.best_iteration,
        "was_stopped": result.was_stopped,
        "half_map_scores": result.scores,
        "seconds": round(seconds, 2),
        "thresholds": problem.thresholds,
        "blur": problem.blur,
        "target_blurs": problem.target_blurs,
        "voxel_size": voxel,
        "settings": config.to_dict(),
    }
    if len(problem.targets) > 1:
        stops = push_frames(
            result.flow,
            source,
            [(k + 1) / len(problem.targets) for k in range(len(problem.targets))],
        )
        figures["correlations_along_the_way"] = [
            correlation(f, t.data) for f, t in zip(stops, problem.targets, strict=True)
        ]
    return Trained(result, problem, frames, motion, curves, figures)

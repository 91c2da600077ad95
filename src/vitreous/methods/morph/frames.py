"""`morph-predict` as a function: a map and weights in, frames, motion and models out."""

from pathlib import Path
from typing import Literal

import numpy as np

from vitreous.errors import InputError
from vitreous.maps import read_map, write_map
from vitreous.methods.morph.models import carry_model, read_model, write_model
from vitreous.methods.morph.predict import frame_times, measure_motion, pull_frames, push_frames
from vitreous.methods.morph.thresholds import automatic_level, cut
from vitreous.methods.morph.weights import read_weights

Mode = Literal["push", "pull", "both"]


def predict_morph(
    initial: Path,
    weights: Path,
    directory: Path,
    threshold: float | None = None,
    prefix: str = "frame",
    depth: int | None = None,
    width: int | None = None,
    mode: Mode = "push",
    frames: int = 11,
    with_motion: bool = False,
    model: Path | None = None,
    voxel_size: float | None = None,
) -> list[Path]:
    """Write `PREFIX_00.mrc, PREFIX_01.mrc, …` and what else is asked for.

    Frames keep the box, voxel size, origin and density unit of the map. In mode `both` pulled
    frames are called `PREFIX_pull_00.mrc, …`. `with_motion` adds `displacement_x|y|z.mrc`,
    `displacement.mrc` (lengths, Å) and `volume_change.mrc` (det F), on the map's own grid.
    `model` adds `model_00.cif, …`.

    **Raises:** `InputError` before anything is written.
    """
    a_map = read_map(initial, voxel_size)
    flow = read_weights(weights, a_map, depth, width)
    if threshold is None:
        threshold = 0.0 if flow.is_peer else automatic_level(a_map.data)
    density = cut(a_map, threshold, str(initial))
    structure = None if model is None else read_model(model)
    if Path(prefix).name != prefix:
        raise InputError(f"-p {prefix}: a prefix is no path; folders belong to -d")
    times = frame_times(frames)
    digits = max(2, len(str(frames - 1)))
    written: list[Path] = []

    def write(name: str, data: np.ndarray) -> None:
        path = directory / f"{name}.mrc"
        write_map(path, data, a_map.voxel_size, a_map.origin)
        written.append(path)

    if mode in ("push", "both"):
        for i, frame in enumerate(push_frames(flow, density, times)):
            write(f"{prefix}_{i:0{digits}d}", frame)
    if mode in ("pull", "both"):
        name = f"{prefix}_pull" if mode == "both" else prefix
        for i, frame in enumerate(pull_frames(flow, a_map, density, times)):
            write(f"{name}_{i:0{digits}d}", frame)
    if with_motion:
        motion = measure_motion(flow, density)
        for axis, component in zip("xyz", motion.displacement, strict=True):
            write(f"displacement_{axis}", component)
        write("displacement", np.linalg.norm(motion.displacement, axis=0))
        write("volume_change", motion.volume)
    if structure is not None:
        for i, moved in enumerate(carry_model(structure, flow, times)):
            path = directory / f"model_{i:0{digits}d}.cif"
            write_model(path, moved)
            written.append(path)
    return written

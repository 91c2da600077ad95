"""Scores of an ab initio run against the truth: poses, map, latents, speed."""

from collections.abc import Callable
from typing import Any

import numpy as np

Scores = dict[str, float]


def pose_scores(run: Any, rotation: np.ndarray, shift: np.ndarray, symmetry: str) -> Scores:
    """Compare the poses of a run with true ones."""
    from vitreous.metrics.poses import pose_errors

    table = run.table()
    errors = pose_errors(table.rotation, rotation, table.shift, shift, symmetry)
    assert errors.shift is not None
    scores = {
        "median": float(np.median(errors.angle)),
        "within 10": float(np.mean(errors.angle < 10)),
        "within 12": float(np.mean(errors.angle < 12)),
        "within 20": float(np.mean(errors.angle < 20)),
        "beyond 90": float(np.mean(errors.angle > 90)),
        "shift, px": float(np.median(errors.shift)) / run.pixel_size,
    }
    if table.particle is not None:
        scores["true hand"] = float(not errors.is_mirrored)
    if symmetry != "C1":
        scores["right copy"] = float(np.mean(errors.copy == 0))
    encoder = run.path / "encoder_poses.npz"
    if encoder.is_file():
        with np.load(encoder) as poses:
            first = pose_errors(poses["rotation"][:, 0], rotation, symmetry=symmetry)
        scores["encoder median"] = float(np.median(first.angle))
    return scores


def map_scores(run: Any, truth: np.ndarray) -> Scores:
    """Compare the map with the true one after alignment; 0.5 in pixels, box / shell."""
    import jax.numpy as jnp

    from vitreous.maps import read_map
    from vitreous.reconstruction.fsc import crossing, fourier_shell_correlation
    from vitreous.reconstruction.volume_alignment import align_volumes

    found = read_map(run.path / "volumes" / "consensus.mrc").data
    laid = align_volumes(found, truth).apply(found)
    curve = np.asarray(fourier_shell_correlation(jnp.asarray(laid), jnp.asarray(truth)))
    shell = crossing(curve, 0.5)
    return {"FSC 0.5, px": 2.0 if shell is None else len(truth) / max(shell, 1e-6)}


def linear_r(latents: np.ndarray, angle: np.ndarray) -> float:
    """Correlate an angle with the best linear function of the latents."""
    design = np.concatenate([latents, np.ones((len(latents), 1))], axis=1)
    fitted = design @ np.linalg.lstsq(design, angle, rcond=None)[0]
    return float(np.corrcoef(fitted, angle)[0, 1])


def search_rate(told: dict, images: int) -> Scores:
    """Return the fastest rate that the history tells; compilation slows the first epochs."""
    rates = [e["images_per_second"] for e in told["history"] if "images_per_second" in e]
    return {"images/s": float(max(rates))} if rates else {}


def reached(scores: Scores, goals: dict[str, tuple[str, float]]) -> dict[str, bool]:
    """Say which goals are reached."""
    compare: dict[str, Callable[[float, float], bool]] = {
        "<=": lambda a, b: a <= b,
        ">=": lambda a, b: a >= b,
    }
    return {
        name: name in scores and compare[sign](scores[name], value)
        for name, (sign, value) in goals.items()
    }

"""The plain facts of a run: what was fitted to what, for how long, how fast."""

from typing import Any

import numpy as np
from jaxtyping import Float

from vitreous.errors import InputError
from vitreous.reconstruction.curves import read_curves
from vitreous.training.progress import duration
from vitreous.training.run import Run

# What a line of metrics.jsonl says about itself, not about the fit.
_ABOUT = ("epoch", "step", "images", "seconds", "epoch_mean", "images_per_second")


def run_facts(run: Run, epoch: int, dimensions: int, pixel_size: float) -> list[tuple[str, str]]:
    """List facts in reading order, as pairs of name and value."""
    config = run.config
    facts = [("method", str(config.get("method", "–")))]
    source = config.get("particles")
    if isinstance(source, dict) and "path" in source:
        facts.append(("particles", str(source["path"])))
    if "images" in config:
        facts.append(("images", f"{config['images']:,}"))
    facts.append(("volume", f"{config['box']}³ voxels of {pixel_size:.4g} Å"))
    facts.append(("latent dimensions", str(dimensions)))
    facts.append(("epoch", str(epoch)))
    entries = [e for e in run.metrics() if e["epoch"] <= epoch]
    intervals = [e for e in entries if "epoch_mean" not in e]
    if intervals and intervals[-1]["seconds"] > 0:
        seconds = float(intervals[-1]["seconds"])
        facts.append(("training time", duration(seconds)))
        overall = sum(e["images"] for e in intervals) / seconds
        # The middle interval: without compilation, checkpoints and inference.
        speed = float(np.median([e.get("images_per_second", overall) for e in intervals]))
        facts.append(("images a second", f"{speed:,.0f}" if speed >= 10 else f"{speed:.2g}"))
    return facts


def learning_curves(
    entries: list[dict[str, Any]], last: int
) -> tuple[list[int], dict[str, Float[np.ndarray, " e"]]]:
    """Collect the epoch means of each scalar up to an epoch, the loss first."""
    means = [e for e in entries if e.get("epoch_mean") and e["epoch"] <= last]
    if not means:
        return [], {}
    names = [n for n in means[-1] if n not in _ABOUT and all(n in m for m in means)]
    names.sort(key=lambda name: (name != "loss", name == "learning_rate"))
    curves = {n: np.array([m[n] for m in means], np.float64) for n in names}
    return [m["epoch"] for m in means], curves


def resolution_curves(run: Run) -> tuple[np.ndarray, dict[str, np.ndarray]] | None:
    """Find the Fourier shell correlation that a run or its consensus map left as `fsc.txt`."""
    for folder in (run.path, run.path / "volumes", run.path / "consensus"):
        file = folder / "fsc.txt"
        if file.is_file():
            try:
                return read_curves(file)
            except InputError:
                return None
    return None

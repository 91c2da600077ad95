"""One picture of a flexible fit: how much moves, how far the halves agree, what springs weigh."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from vitreous.files import atomic_path
from vitreous.methods.flexible.agreement import Agreement

_TEAL, _AMBER = "#00787d", "#c77700"


def draw_motion(path: Path, agreement: Agreement, metrics: list[dict[str, Any]]) -> None:
    """Draw `motion.png`: particles, Gaussians, and the weight of the springs over the epochs."""
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    particles, gaussians, weight = figure.subplots(1, 3)
    top = max(float(agreement.particle_motion.max()), 1e-6)
    bins = np.linspace(0, top, 40)
    particles.hist(agreement.particle_motion, bins, color=_TEAL, label="motion")
    particles.hist(
        np.minimum(agreement.particle_error, top),
        bins,
        color=_AMBER,
        alpha=0.7,
        label="halves disagree by",
    )
    particles.set(xlabel="Å, root mean square over Gaussians", ylabel="particles")
    particles.legend(frameon=False, fontsize=8)
    gaussians.scatter(agreement.gaussian_motion, agreement.gaussian_error, s=4, color=_TEAL, lw=0)
    gaussians.axline((0, 0), slope=1, color="#999999", lw=0.8)
    gaussians.set(
        xlabel="motion of a Gaussian, Å",
        ylabel="disagreement, Å",
        title=f"halves correlate by {agreement.correlation:.3f}",
    )
    curve = [(m["epoch"], m["balance"]) for m in metrics if "epoch_mean" in m and "balance" in m]
    if curve:
        weight.plot(*zip(*curve, strict=True), color=_TEAL)
    weight.set(xlabel="epoch", ylabel="weight of the springs")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)

"""One picture of a particle set: its map from three sides, its half-map FSC, some particles."""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from vitreous.files import atomic_path
from vitreous.reconstruction.curves import draw_curves
from vitreous.reconstruction.pictures import PLANES, projections


def draw_check(
    path: str | Path,
    volume: Float[np.ndarray, "n n n"],
    curves: dict[str, np.ndarray],
    voxel_size: float,
    shown: Float[np.ndarray, "m k k"],
    title: str,
    verdicts: list[str],
) -> None:
    """Draw projections of the map, FSC curves and particles as stored, and write the verdicts.

    **Arguments:** `curves`: of half maps in the box of `volume`. `verdicts`: one line each.
    """
    from matplotlib.figure import Figure

    lines = [line if len(line) < 118 else line[:115] + "…" for line in verdicts]
    foot = 0.35 + 0.2 * len(lines)
    figure = Figure(figsize=(12, 6.2 + foot), layout="constrained")
    parts = figure.subfigures(3, 1, squeeze=False, height_ratios=[3.7, 2.3, foot])
    top, middle, bottom = parts[:, 0]
    top.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    panels = top.subplots(1, 4, width_ratios=[1, 1, 1, 1.55])
    sides = projections(volume)
    low, high = np.percentile(np.stack(sides), [1, 99.8])
    for axes, side, plane in zip(panels, sides, PLANES, strict=False):
        axes.imshow(side, cmap="magma", origin="lower", vmin=low, vmax=high)
        axes.set_title(f"map, {plane}", fontsize=9)
        axes.set_axis_off()
    draw_curves(panels[3], curves, voxel_size, len(volume))
    for axes, image in zip(middle.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        image = _binned(image, 96)
        low, high = np.nanpercentile(image, [1, 99])
        axes.imshow(image, cmap="gray", origin="lower", vmin=low, vmax=high)
        axes.set_axis_off()
    middle.suptitle("particles as stored", x=0.01, ha="left", fontsize=9)
    for i, line in enumerate(lines):
        colour = "#b8336a" if line.startswith("✗") else "#333333"
        bottom.text(0.01, 1 - (i + 0.8) / (len(lines) + 0.5), line, fontsize=9, color=colour)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _binned(image: Float[np.ndarray, "n n"], most: int) -> Float[np.ndarray, "k k"]:
    """Average blocks of pixels so that no more than about `most` are left a side."""
    step = max(1, len(image) // most)
    side = len(image) // step
    cut = image[: side * step, : side * step]
    return cut.reshape(side, step, side, step).mean(axis=(1, 3))

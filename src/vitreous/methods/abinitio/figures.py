"""Pictures of an ab initio fit under way: where the views lie, the map, and how far it has come."""

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from vitreous.files import atomic_path
from vitreous.reconstruction.curves import plot_curves
from vitreous.reconstruction.directions import draw_directions
from vitreous.reconstruction.pictures import PLANES, central_slices, projections

_INK, _TEAL = "#22303a", "#00787d"
# Entries of a history that say where it is, not how it goes.
_ABOUT = {"epoch", "step", "images", "seconds", "restart"}


def draw_progress(
    folder: Path,
    rotation: Float[np.ndarray, "n 3 3"],
    volume: Float[np.ndarray, "b b b"],
    fsc: Float[np.ndarray, " shells"],
    history: list[dict[str, Any]],
    voxel_size: float,
    latents: Float[np.ndarray, "m d"] | None = None,
) -> list[Path]:
    """Draw all pictures of a fit as it stands, replacing older ones.

    **Arguments:** `history`: an entry an epoch, plain numbers and names; `phase` names its part.

    **Returns:** the files: `poses.png`, `slices.png`, `fsc.png`, `history.png` and, for a
    heterogeneous model, `latents.png`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = ["poses.png", "slices.png", "fsc.png"]
    draw_directions(folder / "poses.png", rotation)
    draw_slices(folder / "slices.png", volume, voxel_size)
    box = len(volume)
    plot_curves(folder / "fsc.png", {"fsc": fsc[: box // 2]}, voxel_size, box, "half sets")
    if history:
        draw_history(folder / "history.png", history)
        names.append("history.png")
    if latents is not None and latents.shape[1]:
        draw_latents(folder / "latents.png", latents)
        names.append("latents.png")
    return [folder / name for name in names]


def draw_slices(path: Path, volume: Float[np.ndarray, "b b b"], voxel_size: float) -> None:
    """Draw the three central slices of a map, its projections below, and a scale bar."""
    figure = Figure(figsize=(7.5, 5.3), layout="constrained")
    FigureCanvasAgg(figure)
    rows = figure.subplots(2, 3)
    for row, pictures, word in zip(
        rows, (central_slices(volume), projections(volume)), ("slice", "projection"), strict=True
    ):
        low, high = np.percentile(np.stack(pictures), [0.5, 99.9])
        for axes, picture, plane in zip(row, pictures, PLANES, strict=True):
            axes.imshow(picture, cmap="gray", origin="lower", vmin=low, vmax=max(high, low + 1e-12))
            axes.set_title(f"{word} {plane}", fontsize=9, color=_INK)
            axes.set_axis_off()
    _scale_bar(rows[1, 0], len(volume), voxel_size)
    _save(figure, path)


def _scale_bar(axes: Axes, box: int, voxel_size: float) -> None:
    """Draw a bar of a round length, about a quarter of the box."""
    target = 0.25 * box * voxel_size
    power = 10 ** np.floor(np.log10(target))
    length = next(f * power for f in (5, 2, 1) if f * power <= target * 1.001)
    start, width = 0.06 * box, length / voxel_size
    axes.plot([start, start + width], [0.06 * box] * 2, color="white", lw=2.5)
    axes.text(
        start + width / 2, 0.09 * box, f"{length:g} Å", color="white", ha="center", fontsize=8
    )


def draw_history(path: Path, history: list[dict[str, Any]]) -> None:
    """Draw every number of a history over the epochs, a panel each; phases stand as bands."""
    keys = [
        key
        for key in dict.fromkeys(key for entry in history for key in entry)
        if key not in _ABOUT and any(_is_number(entry.get(key)) for entry in history)
    ]
    keys = keys[:9]
    if not keys:
        return
    columns = min(3, len(keys))
    lines = -(-len(keys) // columns)
    figure = Figure(figsize=(3.5 * columns, 2.5 * lines + 0.3), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(lines, columns, squeeze=False).reshape(-1)
    x = np.arange(1, len(history) + 1)
    names, bands = _phases(history)
    for axes, key in zip(panels, keys, strict=False):
        y = [entry[key] if _is_number(entry.get(key)) else np.nan for entry in history]
        for first, end in bands[1::2]:
            axes.axvspan(first + 0.5, end + 0.5, color="#eef1f0", lw=0, zorder=0)
        axes.plot(x, y, "o-", color=_TEAL, ms=3, lw=1.4)
        axes.set_title(key.replace("_", " "), fontsize=9, color=_INK)
        axes.tick_params(labelsize=7, colors=_INK)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlim(0.5, len(history) + 0.5)
        axes.xaxis.get_major_locator().set_params(integer=True)
    for axes in panels[len(keys) :]:
        axes.set_visible(False)
    label = "epoch" if len(names) < 2 else f"epoch; in bands: {', '.join(names)}"
    wide = 38 * columns
    figure.supxlabel("\n".join(textwrap.wrap(label, wide)), fontsize=9)
    _save(figure, path)


def _phases(history: list[dict[str, Any]]) -> tuple[list[str], list[tuple[int, int]]]:
    """Find the phases of a history, random starts as one: their names, and where each lies."""
    phases = [str(entry.get("phase", "")) for entry in history]
    phases = ["starts" if phase.startswith("start ") else phase for phase in phases]
    first = [i for i in range(len(phases)) if i == 0 or phases[i] != phases[i - 1]]
    bands = list(zip(first, [*first[1:], len(phases)], strict=True))
    return [phases[i] for i in first], bands


def draw_latents(path: Path, latents: Float[np.ndarray, "n d"]) -> None:
    """Draw latents: a histogram of one dimension, else the plane of largest variance."""
    centred = latents - latents.mean(axis=0)
    figure = Figure(figsize=(4.8, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    if latents.shape[1] == 1:
        axes.hist(latents[:, 0], bins=int(np.clip(len(latents) ** 0.5, 10, 80)), color=_TEAL)
        axes.set(xlabel="z", ylabel="images")
    else:
        _, _, basis = np.linalg.svd(centred, full_matrices=False)
        plane = centred @ basis[:2].T
        size = float(np.clip(4000 / len(plane), 0.3, 8))
        axes.scatter(
            plane[:, 0], plane[:, 1], s=size, color=_TEAL, alpha=0.5, lw=0, rasterized=True
        )
        axes.set(xlabel="principal component 1", ylabel="principal component 2")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8, colors=_INK)
    _save(figure, path)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _save(figure: Figure, path: Path) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=130)

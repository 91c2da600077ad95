"""Still plots of a latent space and of a fit, drawn without global state."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure

from vitreous.files import atomic_path

INK, TEAL, RUST = "#22303a", "#00787d", "#c4552d"
DENSITY = LinearSegmentedColormap.from_list("teal", ["#eef3f1", "#7cbab5", TEAL, "#06363b"])


def new_figure(width: float = 5.2, height: float = 4.6, **axes: Any) -> tuple[Figure, Axes]:
    """Make a figure with one pair of quiet axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    main = figure.add_subplot(**axes)
    main.spines[["top", "right"]].set_visible(False)
    main.spines[["left", "bottom"]].set_color("#9aa5ab")
    main.tick_params(colors=INK, labelsize=9)
    return figure, main


def save(figure: Figure, path: Path) -> None:
    """Write a figure in one step."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)


def plot_points(
    path: Path,
    points: Float[np.ndarray, "n 2"],
    labels: tuple[str, str],
    centres: Float[np.ndarray, "k 2"] | None = None,
    cluster: Int[np.ndarray, " n"] | None = None,
    way: Float[np.ndarray, "m 2"] | None = None,
) -> None:
    """Draw points in a plane, with numbered centres, cluster colours or a path where given."""
    figure, axes = new_figure(xlabel=labels[0], ylabel=labels[1])
    size = float(np.clip(4000 / max(len(points), 1), 0.3, 8))
    color = TEAL if cluster is None else [cluster_color(i) for i in cluster.tolist()]
    axes.scatter(
        points[:, 0], points[:, 1], s=size, c=color, alpha=0.5, linewidths=0, rasterized=True
    )
    if way is not None:
        axes.plot(way[:, 0], way[:, 1], "o-", color=RUST, ms=4, lw=1.2)
    if centres is not None:
        axes.scatter(centres[:, 0], centres[:, 1], s=16, c="white", edgecolors=INK, linewidths=0.8)
        for i, (x, y) in enumerate(centres):
            axes.annotate(str(i + 1), (x, y), xytext=(4, 4), textcoords="offset points", color=INK)
    save(figure, path)


def plot_density(path: Path, points: Float[np.ndarray, "n 2"], labels: tuple[str, str]) -> None:
    """Draw how dense the points of a plane lie, in hexagons on a logarithmic scale."""
    figure, axes = new_figure(5.8, 4.6, xlabel=labels[0], ylabel=labels[1])
    bins = int(np.clip(len(points) ** 0.5 / 2, 12, 60))
    cells = axes.hexbin(
        points[:, 0], points[:, 1], gridsize=bins, bins="log", cmap=DENSITY, mincnt=1, linewidths=0
    )
    figure.colorbar(cells, ax=axes, label="particles", shrink=0.8)
    save(figure, path)


def plot_histogram(path: Path, values: Float[np.ndarray, " n"], stops: np.ndarray) -> None:
    """Draw a one-dimensional latent as a histogram, with the decoded values marked."""
    figure, axes = new_figure(5.2, 3.6, xlabel="z", ylabel="particles")
    axes.hist(values, bins=int(np.clip(len(values) ** 0.5, 10, 100)), color=TEAL, alpha=0.85)
    axes.plot(stops, np.zeros(len(stops)), "^", color=RUST, clip_on=False, ms=6)
    save(figure, path)


def plot_learning_curve(path: Path, epochs: Sequence[int], curves: dict[str, np.ndarray]) -> None:
    """Draw the mean of each scalar over the epochs, one panel each."""
    figure = Figure(figsize=(3.6 * max(len(curves), 1), 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    for i, (name, values) in enumerate(curves.items()):
        axes = figure.add_subplot(1, len(curves), i + 1, xlabel="epoch", title=name)
        axes.spines[["top", "right"]].set_visible(False)
        axes.plot(epochs, values, "o-", color=TEAL, ms=3, lw=1.4)
        axes.tick_params(labelsize=8)
    save(figure, path)


def cluster_color(index: int) -> tuple[float, float, float]:
    """Give the colour of a cluster: neighbours in number differ, the set repeats after 20."""
    return to_rgb(CLUSTER_COLORS[index % len(CLUSTER_COLORS)])


# Twenty hues of like weight, readable on white and on near-black.
CLUSTER_COLORS = (
    "#0f8b8d", "#e07a3f", "#5b6abf", "#c9a227", "#b24c78", "#5aa469", "#8c564b", "#3f8fd2",
    "#d1495b", "#7d8597", "#76b041", "#9467bd", "#e0a458", "#2a9d8f", "#a05195", "#6c8ead",
    "#bc6c25", "#48a9c5", "#c06c84", "#8a9a5b",
)  # fmt: skip

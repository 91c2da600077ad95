"""From where particles are seen: the density of viewing directions on the sphere."""

from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from vitreous.files import atomic_path

_INK = "#22303a"
_VIEWS = LinearSegmentedColormap.from_list("views", ["#f4f6f5", "#7cbab5", "#00787d", "#06363b"])
# Width of the bell that smooths the directions, in degrees.
_BELL = 8.0


def draw_directions(
    path: Path, rotation: Float[np.ndarray, "n 3 3"], title: str = "", most: int = 20_000
) -> None:
    """Draw how often the particle is seen from where, on a Mollweide map of the sphere.

    The colour is the density of viewing directions, 1 where they would be if spread evenly.

    **Arguments:** `most`: directions that are looked at, of more a part chosen at random.
    """
    direction = rotation[:, 2].astype(np.float64)
    longitude = np.deg2rad(np.linspace(-180, 180, 181))
    latitude = np.deg2rad(np.linspace(-90, 90, 91))
    across, up = ((edge[1:] + edge[:-1]) / 2 for edge in (longitude, latitude))
    density = direction_density(direction, across, up, most)
    figure = Figure(figsize=(7, 3.9), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(projection="mollweide")
    # Few images spread evenly are lumpy too: they must not look like a preference.
    top = max(float(density.max()), 3.0)
    shown = axes.pcolormesh(longitude, latitude, density, cmap=_VIEWS, vmin=0, vmax=top)
    shown.set_rasterized(True)
    axes.grid(color="white", lw=0.5, alpha=0.8)
    axes.set_xticklabels([])
    axes.set_yticks(np.deg2rad([-60, -30, 0, 30, 60]))
    axes.tick_params(labelsize=7, colors=_INK)
    bar = figure.colorbar(shown, ax=axes, shrink=0.75, pad=0.02)
    bar.set_label("views, 1 = spread evenly", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    axes.set_title(title or f"viewing directions of {len(direction):,} images", fontsize=10, pad=12)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=130)


def direction_density(
    direction: Float[np.ndarray, "n 3"],
    longitude: Float[np.ndarray, " w"],
    latitude: Float[np.ndarray, " h"],
    most: int = 20_000,
) -> Float[np.ndarray, "h w"]:
    """Smooth directions over the sphere with a von Mises–Fisher bell of mean 1.

    **Arguments:** `longitude`, `latitude`: radians, where the density is wanted.
    """
    if len(direction) > most:
        kept = np.random.default_rng(0).permutation(len(direction))[:most]
        direction = direction[kept]
    kappa = 1 / np.deg2rad(_BELL) ** 2
    height = np.sin(latitude)
    ring = np.cos(latitude)
    density = np.zeros((len(latitude), len(longitude)))
    for row in range(len(latitude)):
        points = np.stack(
            [
                ring[row] * np.cos(longitude),
                ring[row] * np.sin(longitude),
                np.full(len(longitude), height[row]),
            ],
            axis=-1,
        )
        density[row] = np.exp(kappa * (points @ direction.T - 1)).mean(axis=1)
    # ∫ exp(κ (cos θ − 1)) over the sphere is 2π (1 − e^{−2κ}) / κ.
    return density * 2 * kappa

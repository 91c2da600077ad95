"""Pictures of maps and masks: central slices and projections."""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from vitreous.files import atomic_path

PLANES = ("xy", "xz", "yz")


def central_slices(volume: Float[np.ndarray, "n n n"]) -> list[Float[np.ndarray, "n n"]]:
    """Return the three slices through the box centre: `xy`, `xz`, `yz`."""
    c = len(volume) // 2
    return [volume[c], volume[:, c], volume[:, :, c]]


def projections(volume: Float[np.ndarray, "n n n"]) -> list[Float[np.ndarray, "n n"]]:
    """Return the sums along z, y and x: `xy`, `xz`, `yz`."""
    return [volume.sum(axis=axis) for axis in range(3)]


def plot_mask(
    path: str | Path,
    volume: Float[np.ndarray, "n n n"],
    mask: Float[np.ndarray, "n n n"],
    threshold: float,
) -> None:
    """Draw the density in three central slices with the mask's half and outer contours."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.3), layout="constrained")
    all_axes = figure.subplots(1, 3)
    pairs = zip(all_axes, central_slices(volume), central_slices(mask), PLANES, strict=True)
    for axes, density, soft, plane in pairs:
        axes.imshow(density, cmap="gray", origin="lower")
        for level, colour in ((0.02, "#e0872b"), (0.5, "#1b6ca8")):
            if soft.min() < level < soft.max():
                axes.contour(soft, [level], colors=[colour], linewidths=1.2)
        axes.set_title(plane, fontsize=10)
        axes.set_axis_off()
    figure.suptitle(
        f"threshold {threshold:.4g}; mask at 0.5 (blue) and its end (orange)", fontsize=9
    )
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)

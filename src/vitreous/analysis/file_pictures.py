"""Pictures of files: a montage of images, or a volume as slices, projections and a surface."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from vitreous.analysis.plots import save
from vitreous.analysis.postprocess import fourier_crop
from vitreous.analysis.rendering import render_surface
from vitreous.analysis.view import choose_view
from vitreous.errors import InputError
from vitreous.particles.source import ImageSource
from vitreous.particles.table import ParticleTable
from vitreous.reconstruction.pictures import PLANES, central_slices, projections

_SHOWN = 25
_SURFACE_BOX = 96


def draw_montage(
    path: Path,
    source: ImageSource,
    table: ParticleTable,
    rows: Sequence[int] | None = None,
    invert: bool = False,
) -> None:
    """Draw images of a stack in a square, each between its own 1st and 99th percentile.

    **Arguments:** `rows`: which ones; 25 evenly spread over the table if None.

    **Raises:** `InputError` if there is no such row.
    """
    from matplotlib.figure import Figure

    if rows is None:
        rows = np.unique(
            np.linspace(0, len(table) - 1, min(_SHOWN, len(table))).astype(int)
        ).tolist()
    bad = [row for row in rows if not 0 <= row < len(table)]
    if bad:
        raise InputError(f"--ind {bad[0]}: {table.path} has images 0 to {len(table) - 1}")
    images = source.read(np.asarray(rows)) * (-1 if invert else 1)
    columns = int(np.ceil(np.sqrt(len(images))))
    figure = Figure(figsize=(1.8 * columns, 1.9 * -(-len(images) // columns)), layout="constrained")
    axes = np.atleast_1d(figure.subplots(-(-len(images) // columns), columns)).reshape(-1)
    for axis in axes:
        axis.set_axis_off()
    for axis, row, image in zip(axes, rows, images, strict=False):
        low, high = np.percentile(image, [1, 99])
        axis.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-12), origin="lower")
        axis.set_title(str(row), fontsize=8)
    save(figure, path)


def draw_volume(path: Path, volume: Float[np.ndarray, "n n n"]) -> None:
    """Draw the central slices, the projections onto the same planes, and the surface."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, 5.2), layout="constrained")
    grid = figure.add_gridspec(2, 5)
    for line, (word, pictures) in enumerate(
        (("slice", central_slices(volume)), ("projection", projections(volume)))
    ):
        for column, (plane, picture) in enumerate(zip(PLANES, pictures, strict=True)):
            axis = figure.add_subplot(grid[line, column])
            axis.imshow(picture, cmap="gray", origin="lower")
            axis.set_title(f"{word} {plane}", fontsize=9)
            axis.set_axis_off()
    small = fourier_crop(volume, _SURFACE_BOX) if len(volume) > _SURFACE_BOX else volume
    view = choose_view([small])
    axis = figure.add_subplot(grid[:, 3:])
    axis.imshow(render_surface(small, view, 400))
    axis.set_title("surface", fontsize=9)
    axis.set_axis_off()
    save(figure, path)

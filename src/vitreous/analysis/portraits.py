"""Pictures and movies of the decoded series, all in one view, for the folder and the report."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from vitreous.analysis.mobility import mobility
from vitreous.analysis.movies import render_series, there_and_back, write_gif, write_mp4
from vitreous.analysis.pictures import encode, montage, projection
from vitreous.analysis.report import PathCard, VolumeCard
from vitreous.analysis.series import Series
from vitreous.analysis.view import choose_view
from vitreous.files import atomic_path


@dataclass(frozen=True)
class Portraits:
    """Pictures for the report: cluster centres, and frames of each path."""

    volumes: Sequence[VolumeCard] = ()
    paths: Sequence[PathCard] = ()


def draw_portraits(
    centres: Series,
    centre_index: Int[np.ndarray, " k"],
    paths: Sequence[Series],
    nearest: Sequence[Int[np.ndarray, " m"]],
    size: int,
    tell: Callable[[str, int, int], None],
) -> Portraits:
    """Draw every map; write `volumes.png`, and `movie.gif` (and `.mp4`) of each series.

    One contour level, view and tint for all, chosen from the cluster centres. The centres are a
    movie too: in their order, which keeps like with like, they tour the landscape where there
    are particles, as a straight component may not.

    **Arguments:** `centre_index`: the particle of each centre. `nearest`: for each path, the
    particle nearest to each frame.
    """
    view = choose_view(centres.volumes, centres.level)
    tint = mobility(centres.volumes, view.level)
    told = functools.partial(tell, "pictures: cluster centres")
    surfaces = render_series(centres.volumes, view, size, tint, told)
    columns = int(np.ceil(len(surfaces) ** 0.5 * 1.2))
    with atomic_path(centres.folder / "volumes.png") as temporary:
        temporary.write_bytes(encode(montage(surfaces, columns)))
    cards = [
        VolumeCard(surface, [projection(volume, axis) for axis in range(3)])
        for surface, volume in zip(surfaces, centres.volumes, strict=True)
    ]
    films = [_film("Through the clusters", centres, surfaces, centre_index)]
    for i, (path, near) in enumerate(zip(paths, nearest, strict=True)):
        told = functools.partial(tell, f"movie: principal component {i + 1}")
        frames = render_series(path.volumes, view, size, tint, told)
        films.append(_film(f"Principal component {i + 1}", path, frames, near))
    return Portraits(cards, films)


def _film(
    title: str, series: Series, frames: Sequence[np.ndarray], nearest: np.ndarray
) -> PathCard:
    """Write the movie of a series beside its maps, and keep the frames for the report."""
    loop = there_and_back(frames)
    write_gif(series.folder / "movie.gif", loop)
    write_mp4(series.folder / "movie.mp4", loop)
    captions = [f"{k + 1} / {len(frames)}" for k in range(len(frames))]
    return PathCard(title, frames, nearest, captions)

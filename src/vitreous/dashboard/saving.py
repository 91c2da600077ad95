"""A trajectory as files: maps, the script that plays them in ChimeraX, a movie."""

from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float

from vitreous.analysis.mobility import mobility
from vitreous.analysis.movies import render_series, there_and_back, write_gif, write_mp4
from vitreous.analysis.postprocess import fourier_crop
from vitreous.analysis.series import PICTURE_BOX, write_series, write_z_values
from vitreous.analysis.view import choose_view
from vitreous.dashboard.maps import Maps
from vitreous.errors import InputError

_MOVIE_SIDE = 384


def save_series(
    maps: Maps,
    z: Float[np.ndarray, "p d"],
    folder: Path,
    has_maps: bool = True,
    movie: Literal["mp4", "gif"] | None = None,
) -> list[Path]:
    """Decode a path and write it.

    **Arguments:** `has_maps`: write `vol_001.mrc …`, and `series.cxc` which opens them. `movie`:
    to and fro, in one view.

    **Returns:** the files, the latents of the path (`z_values.txt`) first.

    **Raises:** `InputError` if no MP4 can be made here.
    """

    def decode(points: np.ndarray) -> np.ndarray:
        return np.stack([maps.decode(point) for point in points])

    found = [folder / "z_values.txt"]
    if has_maps:
        series = write_series(decode, z, folder, maps.run.pixel_size, title="trajectory")
        found += [folder / name for name in series.names] + [folder / "series.cxc"]
        volumes = list(series.volumes)
    else:
        write_z_values(folder / "z_values.txt", z)
        volumes = [_small(maps.decode(point)) for point in z]
    if movie is None:
        return found
    view = choose_view(volumes)
    tint = mobility(volumes, view.level)
    frames = there_and_back(render_series(volumes, view, _MOVIE_SIDE, tint))
    file = folder / f"movie.{movie}"
    if movie == "gif":
        write_gif(file, frames)
    elif not write_mp4(file, frames):
        raise InputError(f"{file}: no MP4 could be written (ffmpeg failed); take a GIF")
    return [*found, file]


def _small(volume: Float[np.ndarray, "n n n"]) -> Float[np.ndarray, "m m m"]:
    return fourier_crop(volume, PICTURE_BOX) if len(volume) > PICTURE_BOX else volume

"""A flexible run's latents in a plane, and what is asked of it: regions, places, ways.

What napari showed of a run, without a window: every answer is rows, latents or files.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from sklearn.cluster import KMeans

from vitreous.analysis.embedding import Embedding, embed
from vitreous.analysis.lasso import inside_polygon
from vitreous.analysis.movies import render_series, there_and_back, write_gif, write_mp4
from vitreous.analysis.paths import direct_path
from vitreous.analysis.series import Series, write_series, write_single
from vitreous.analysis.view import choose_view
from vitreous.errors import InputError
from vitreous.methods.flexible.bodies.files import displacements
from vitreous.methods.flexible.decode import GaussianDecoder, half_decoder
from vitreous.methods.flexible.run_files import HalfModel, load_flexible
from vitreous.training.run import Run

# Gaussians whose displacements stand for a conformation.
_SHOWN = 200


@dataclass(frozen=True, eq=False)
class Exploration:
    """Hold particles of a run in a plane.

    **Fields:** `rows` of the run's table that are shown; `latents` and places `plane` of them.
    `decoder`: latents → volumes. `half`: the model behind; `half_set` as asked for.
    """

    run: Run
    rows: Int[np.ndarray, " m"]
    latents: Float[np.ndarray, "m d"]
    plane: Float[np.ndarray, "m 2"]
    half: HalfModel
    decoder: GaussianDecoder
    half_set: int

    def inside(self, polygon: Sequence[tuple[float, float]]) -> Int[np.ndarray, " k"]:
        """Return the rows of the particles within a polygon of the plane."""
        return self.rows[inside_polygon(self.plane[:, 0], self.plane[:, 1], polygon)]

    def latent_at(self, place: Sequence[float]) -> Float[np.ndarray, " d"]:
        """Return the latent of the particle nearest to a place of the plane."""
        distance = np.sum((self.plane - np.asarray(place)[None]) ** 2, axis=1)
        return self.latents[int(np.argmin(distance))]

    def way(self, places: Sequence[Sequence[float]], frames: int) -> Float[np.ndarray, "f d"]:
        """Go straight from latent to latent of the particles nearest to places of the plane.

        **Arguments:** `frames`: of each piece of the way, both ends counted.
        """
        return direct_path(np.stack([self.latent_at(place) for place in places]), frames)

    def clusters(self, count: int, seed: int = 0) -> Int[np.ndarray, " m"]:
        """Cut the conformations into clusters by k-means on displacements, numbered from 1."""
        features = displacement_features(self.half, self.latents)
        return KMeans(count, n_init=3, random_state=seed).fit(features).labels_ + 1


def explore(
    run: Run,
    half_set: Literal[0, 1, 2] = 0,
    kind: Embedding = "PCA",
    by_deformation: bool = False,
    epoch: int | None = None,
    seed: int = 0,
) -> Exploration:
    """Lay the particles of a run out in a plane.

    **Arguments:** `half_set`: 0 for all particles, in the frame of half 1's model; 1 or 2 for
    those of a half set, with the latents and the model they were learned by. `by_deformation`:
    lay out displacements of Gaussians, not latents.
    """
    model = load_flexible(run, epoch)
    half = model.halves[max(half_set - 1, 0)]
    if half_set:
        rows, latents = half.images, half.latents
    else:
        latents = np.asarray(run.latents(epoch).mean, np.float32)
        rows = np.arange(len(latents))
    features = displacement_features(half, latents) if by_deformation else latents
    return Exploration(
        run,
        np.asarray(rows, np.int64),
        np.asarray(latents, np.float32),
        embed(np.asarray(features, np.float64), kind, seed),
        half,
        half_decoder(run, max(half_set - 1, 0), epoch),
        half_set,
    )


def displacement_features(
    half: HalfModel, latents: Float[np.ndarray, "n d"]
) -> Float[np.ndarray, "n f"]:
    """List the displacements of some Gaussians in each particle, Å."""
    every = -(-len(half.gaussians.positions) // _SHOWN)
    parts = displacements(half, np.asarray(latents, np.float32), every)
    return np.concatenate([part.reshape(len(part), -1) for part in parts])


def save_map(found: Exploration, latent: Float[np.ndarray, " d"], path: Path | None = None) -> Path:
    """Write the map of a latent; by default the next `maps/map{k}_half{h}.mrc` of the run."""
    if path is None:
        path = _next(found.run.path / "maps", "map", f"_half{found.half_set}.mrc")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_single(found.decoder, latent[None], path, found.run.pixel_size)
    return path


def save_movie(
    found: Exploration, latents: Float[np.ndarray, "f d"], folder: Path | None = None
) -> Series:
    """Write the maps along a way, `volume000.mrc …`, and a movie of them.

    By default into the next `movies/movie{k}_half{h}/` of the run.
    """
    if folder is None:
        folder = _next(found.run.path / "movies", "movie", f"_half{found.half_set}")
    series = write_series(
        found.decoder, latents, folder, found.run.pixel_size, prefix="volume", first=0
    )
    pictures = render_series(series.volumes, choose_view(series.volumes, series.level))
    write_gif(folder / "movie.gif", there_and_back(pictures))
    write_mp4(folder / "movie.mp4", there_and_back(pictures))
    return series


def save_subset(found: Exploration, rows: Int[np.ndarray, " k"], path: Path | None = None) -> Path:
    """Write particles as a STAR file; by default the next `subsets/subset_{k}_half{h}.star`.

    **Raises:** `InputError` if there are none.
    """
    if not len(rows):
        raise InputError("no particle lies within the polygon: nothing to write")
    if path is None:
        path = _next(found.run.path / "subsets", "subset_", f"_half{found.half_set}.star")
    path.parent.mkdir(parents=True, exist_ok=True)
    found.run.table().select(np.sort(rows)).to_star(path)
    return path


def _next(folder: Path, before: str, after: str) -> Path:
    """Name the first file of a numbered kind that is not there yet."""
    number = 0
    while (folder / f"{before}{number}{after}").exists():
        number += 1
    return folder / f"{before}{number}{after}"

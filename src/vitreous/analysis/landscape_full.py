"""Place every particle in the space of volumes, and cut that space into communities.

Some volumes are decoded and expressed by the components of `landscape.N/`; a smooth map from the
latent to those components, fitted to them and tested on the rest, places all other particles.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from vitreous.analysis.communities import leiden_communities
from vitreous.analysis.decoders import Decoder, VolumeSource, volumes_of
from vitreous.analysis.embedding import embed_umap
from vitreous.analysis.epochs import checked_latents
from vitreous.analysis.landscape_files import read_space
from vitreous.analysis.latent_files import write_array
from vitreous.analysis.plots import plot_density, plot_points
from vitreous.analysis.postprocess import VolumeOptions, process_volume
from vitreous.analysis.series import write_series
from vitreous.analysis.smooth_map import fit_smooth_map
from vitreous.analysis.volume_space import VolumeSpace
from vitreous.errors import InputError
from vitreous.files import write_text
from vitreous.particles.pickles import save_pickles
from vitreous.training.run import Run

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class FullOptions:
    """Say how all particles are placed.

    `decoded`: particles whose volume is decoded, all if there are no more; `tolerance`: error each
    may have, see `Run.decode_many`. `neighbours` and `resolution` of Leiden's communities.
    `volumes`: decode one at the heart of each community.
    """

    decoded: int = 10_000
    neighbours: int = 50
    resolution: float = 1.5
    umap: bool = True
    volumes: bool = True
    tolerance: float = 0.01
    landmarks: int = 1000
    seed: int = 0


@dataclass(frozen=True)
class FullLandscape:
    """What was found. `scores`: volume components of each particle; `community`: from 0, the
    largest first; `r2`: how well the map from the latent predicted volumes it was not shown."""

    folder: Path
    scores: Float[np.ndarray, "n c"]
    community: Int[np.ndarray, " n"]
    umap: Float[np.ndarray, "n 2"] | None
    r2: Float[np.ndarray, " c"] | None


def analyze_landscape_full(
    run: Run,
    epoch: int,
    options: FullOptions | None = None,
    landscape: Path | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> FullLandscape:
    """Place all particles of a run in the volume space of its landscape.

    **Arguments:** `landscape`: the folder of `analyze_landscape`, `landscape.N` of the run if
    None. `folder`: for the outputs, `landscape_full` inside it if None.

    **Raises:** `InputError` if the landscape is not there yet, or options do not fit.
    """
    options = options or FullOptions()
    tell = progress or (lambda stage, done, total: None)
    landscape = run.path / f"landscape.{epoch}" if landscape is None else landscape
    known = _known_landscape(landscape, options)
    folder = landscape / "landscape_full" if folder is None else folder
    z = np.asarray(checked_latents(run, epoch).mean, np.float32)
    decoder = volumes_of(run, epoch, known.source)
    scores, decoded, r2 = _place(z, decoder, known, options, run.pixel_size, tell)
    _write(folder, "vol_pca_all", scores)
    tell("communities", 0, 1)
    community = leiden_communities(scores, options.neighbours, options.resolution, options.seed)
    _write(folder / "full_clustering", "cluster_labels", community)
    tell("communities", 1, 1)
    umap = None
    if options.umap and scores.shape[1] > 2:
        tell("UMAP", 0, 1)
        umap = embed_umap(scores, options.seed, neighbours=options.neighbours)
        _write(folder, "umap_vol_pca", umap)
        tell("UMAP", 1, 1)
    found = FullLandscape(folder, scores, community, umap, r2)
    _draw(found, known.space)
    if options.volumes:
        _write_hearts(found, z, decoder, known, tell)
    summary = {
        "decoded": decoded,
        "particles": len(z),
        "r2": None if r2 is None else [round(float(r), 4) for r in r2],
        "communities": np.bincount(community).tolist(),
    }
    write_text(folder / "landscape_full.json", json.dumps(summary) + "\n")
    return found


@dataclass(frozen=True)
class _Known:
    """Hold what `analyze_landscape` left: its space, and how its volumes were made."""

    space: VolumeSpace
    treatment: VolumeOptions
    source: VolumeSource
    pixel_size: float


def _known_landscape(folder: Path, options: FullOptions) -> _Known:
    if not (folder / "vol_pca.npz").is_file():
        raise InputError(f"{folder}: no landscape there; make it with: vitreous analyze-landscape")
    if options.decoded < 10 or options.neighbours < 2:
        raise InputError("-N must be at least 10, --num-neighbors at least 2")
    facts = json.loads((folder / "landscape.json").read_text(encoding="utf-8"))
    treatment = VolumeOptions(downsample=facts["downsample"], flip=facts["flip"])
    return _Known(read_space(folder)[0], treatment, facts["source"], facts["pixel_size"])


def _place(
    z: np.ndarray,
    decoder: Decoder,
    known: _Known,
    options: FullOptions,
    pixel_size: float,
    tell: Progress,
) -> tuple[np.ndarray, int, np.ndarray | None]:
    """Give every particle its volume components; say how many were decoded, and the map's R²."""
    order = np.random.default_rng(options.seed).permutation(len(z))
    rows = np.sort(order[: options.decoded])
    of_volumes = _decoded_scores(
        z[rows], decoder, known, options.tolerance, pixel_size,
        lambda done, total: tell("volumes", done, total),
    )  # fmt: skip
    if len(rows) == len(z):
        return of_volumes, len(rows), None
    tell("map from the latent to volumes", 0, 1)
    learnt = fit_smooth_map(z[rows], of_volumes, options.landmarks, options.seed)
    scores = learnt(z).astype(np.float32)
    tell("map from the latent to volumes", 1, 1)
    # What was decoded needs no map.
    scores[rows] = of_volumes
    return scores, len(rows), learnt.r2


def _decoded_scores(
    z: np.ndarray,
    decoder: Decoder,
    known: _Known,
    tolerance: float,
    pixel_size: float,
    progress: Callable[[int, int], None],
) -> Float[np.ndarray, "m c"]:
    """Decode volumes and keep of each its components only."""
    found: list[np.ndarray] = []
    for volumes in decoder.many(z, tolerance):
        treated = np.stack([process_volume(v, pixel_size, known.treatment)[0] for v in volumes])
        if treated.shape[1:] != known.space.mask.shape:
            raise InputError(
                f"volumes of {treated.shape[1]} voxels for a landscape of {len(known.space.mask)}"
            )
        found.extend(known.space.transform(treated))
        progress(len(found), len(z))
    return np.stack(found)


def _write(folder: Path, name: str, values: np.ndarray) -> None:
    """Write an array for us, and as the peer's pickle."""
    write_array(folder / f"{name}.npy", values)
    save_pickles(folder / f"{name}.pkl", values)


def _write_hearts(
    found: FullLandscape, z: np.ndarray, decoder: Decoder, known: _Known, tell: Progress
) -> None:
    """Decode a volume at the heart of each community."""
    hearts = _hearts(found.scores, found.community)
    folder = found.folder / "full_clustering"
    write_series(
        decoder.decode, z[hearts], folder, known.pixel_size, known.treatment,
        title="communities", is_path=False,
        progress=lambda done, total: tell("volumes of the communities", done, total),
    )  # fmt: skip
    write_text(folder / "centers_ind.txt", "".join(f"{i}\n" for i in hearts.tolist()))


def _hearts(scores: np.ndarray, community: np.ndarray) -> Int[np.ndarray, " k"]:
    """Find the particle nearest to the mean of each community."""
    hearts = []
    for k in range(community.max() + 1):
        mine = np.flatnonzero(community == k)
        distance = np.sum((scores[mine] - scores[mine].mean(axis=0)) ** 2, axis=1)
        hearts.append(mine[np.argmin(distance)])
    return np.array(hearts, np.int64)


def _draw(found: FullLandscape, space: VolumeSpace) -> None:
    folder = found.folder
    share = space.variance / max(space.total, 1e-30)
    planes = {}
    if found.scores.shape[1] > 1:
        names = (f"volume PC1 ({share[0]:.0%})", f"volume PC2 ({share[1]:.0%})")
        planes["vol_pca"] = (found.scores[:, :2], names)
    if found.umap is not None:
        planes["umap_vol_pca"] = (found.umap, ("UMAP1", "UMAP2"))
    for name, (points, labels) in planes.items():
        plot_density(folder / f"{name}.png", points, labels)
        middles = [points[found.community == k].mean(0) for k in range(found.community.max() + 1)]
        plot_points(
            folder / "full_clustering" / f"{name}.png",
            points,
            labels,
            np.stack(middles),
            found.community,
        )

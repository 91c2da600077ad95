"""Place every particle in the space of volumes, and cut that space into communities.

Some volumes are decoded and expressed by the components of `landscape.N/`; a smooth map from the
latent to those components, fitted to them and tested on the rest, places all other particles.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from vitreous.analysis.communities import leiden_communities
from vitreous.analysis.decoders import VolumeSource, volumes_of
from vitreous.analysis.embedding import embed_umap
from vitreous.analysis.landscape_files import read_space
from vitreous.analysis.latent_files import write_array
from vitreous.analysis.plots import plot_density, plot_points
from vitreous.analysis.postprocess import VolumeOptions, process_volume
from vitreous.analysis.series import write_series
from vitreous.analysis.smooth_map import SmoothMap, fit_smooth_map
from vitreous.analysis.volume_space import VolumeSpace
from vitreous.errors import InputError
from vitreous.files import write_text
from vitreous.particles.pickles import save_pickles
from vitreous.training.run import Run

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class FullOptions:
    """Say how all particles are placed.

    `decoded`: particles whose volume is decoded, all if there are no more. `neighbours` and
    `resolution` of Leiden's communities. `volumes`: decode one at the heart of each community.
    """

    decoded: int = 10_000
    neighbours: int = 50
    resolution: float = 1.5
    umap: bool = True
    volumes: bool = True
    source: VolumeSource = "decoder"
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
    from vitreous.analysis.analyze import checked_latents

    options = options or FullOptions()
    tell = progress or (lambda stage, done, total: None)
    landscape = run.path / f"landscape.{epoch}" if landscape is None else landscape
    if not (landscape / "vol_pca.npz").is_file():
        raise InputError(
            f"{landscape}: no landscape there; make it with: vitreous analyze-landscape"
        )
    if options.decoded < 10 or options.neighbours < 2:
        raise InputError("-N must be at least 10, --num-neighbors at least 2")
    space, _, _ = read_space(landscape)
    facts = json.loads((landscape / "landscape.json").read_text(encoding="utf-8"))
    treatment = VolumeOptions(downsample=facts["downsample"], flip=facts["flip"])
    options = replace(options, source=facts["source"])
    folder = landscape / "landscape_full" if folder is None else folder
    z = np.asarray(checked_latents(run, epoch).mean, np.float32)
    order = np.random.default_rng(options.seed).permutation(len(z))
    rows = np.sort(order[: options.decoded])
    known = _decoded_scores(
        run, epoch, z[rows], space, treatment, options.source,
        lambda done, total: tell("volumes", done, total),
    )  # fmt: skip
    learnt: SmoothMap | None = None
    if len(rows) < len(z):
        tell("map from the latent to volumes", 0, 1)
        learnt = fit_smooth_map(z[rows], known, options.landmarks, options.seed)
        scores = learnt(z).astype(np.float32)
        tell("map from the latent to volumes", 1, 1)
        # What was decoded needs no map.
        scores[rows] = known
    else:
        scores = known
    write_array(folder / "vol_pca_all.npy", scores)
    save_pickles(folder / "vol_pca_all.pkl", scores)
    tell("communities", 0, 1)
    community = leiden_communities(scores, options.neighbours, options.resolution, options.seed)
    clusters = folder / "full_clustering"
    write_array(clusters / "cluster_labels.npy", community)
    save_pickles(clusters / "cluster_labels.pkl", community)
    tell("communities", 1, 1)
    umap = None
    if options.umap and scores.shape[1] > 2:
        tell("UMAP", 0, 1)
        umap = embed_umap(scores, options.seed, neighbours=options.neighbours)
        write_array(folder / "umap_vol_pca.npy", umap)
        save_pickles(folder / "umap_vol_pca.pkl", umap)
        tell("UMAP", 1, 1)
    found = FullLandscape(folder, scores, community, umap, None if learnt is None else learnt.r2)
    _draw(folder, clusters, found, space)
    if options.volumes:
        hearts = _hearts(scores, community)
        write_series(
            volumes_of(run, epoch, options.source).decode,
            z[hearts],
            clusters,
            facts["pixel_size"],
            treatment,
            title="communities",
            is_path=False,
            progress=lambda done, total: tell("volumes of the communities", done, total),
        )
        write_text(clusters / "centers_ind.txt", "".join(f"{i}\n" for i in hearts.tolist()))
    summary = {
        "decoded": len(rows),
        "particles": len(z),
        "r2": None if found.r2 is None else [round(float(r), 4) for r in found.r2],
        "communities": np.bincount(community).tolist(),
    }
    write_text(folder / "landscape_full.json", json.dumps(summary) + "\n")
    return found


def _decoded_scores(
    run: Run,
    epoch: int,
    z: np.ndarray,
    space: VolumeSpace,
    treatment: VolumeOptions,
    source: VolumeSource,
    progress: Callable[[int, int], None],
    batch: int = 8,
) -> Float[np.ndarray, "m c"]:
    """Decode volumes and keep of each its components only."""
    decoder = volumes_of(run, epoch, source)
    scores = np.empty((len(z), len(space.axes)), np.float32)
    for start in range(0, len(z), batch):
        volumes = decoder.decode(z[start : start + batch])
        treated = np.stack([process_volume(v, run.pixel_size, treatment)[0] for v in volumes])
        if treated.shape[1:] != space.mask.shape:
            raise InputError(
                f"volumes of {treated.shape[1]} voxels for a landscape of {len(space.mask)}"
            )
        scores[start : start + batch] = space.transform(treated)
        progress(min(start + batch, len(z)), len(z))
    return scores


def _hearts(scores: np.ndarray, community: np.ndarray) -> Int[np.ndarray, " k"]:
    """Find the particle nearest to the mean of each community."""
    hearts = []
    for k in range(community.max() + 1):
        mine = np.flatnonzero(community == k)
        distance = np.sum((scores[mine] - scores[mine].mean(axis=0)) ** 2, axis=1)
        hearts.append(mine[np.argmin(distance)])
    return np.array(hearts, np.int64)


def _draw(folder: Path, clusters: Path, found: FullLandscape, space: VolumeSpace) -> None:
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
        plot_points(clusters / f"{name}.png", points, labels, np.stack(middles), found.community)

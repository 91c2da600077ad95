"""From a run to `analyze.N/`: the latent cut, drawn and decoded, and one report of it all.

The folder keeps the names cryoDRGN's users and tools know (`pcI/vol_001.mrc`, `z_values.txt`,
`kmeansK/labels.pkl`, `umap.pkl`), and `.npy`/`.npz` beside each pickle.
"""

import functools
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float

from vitreous.analysis.clusters import Clusters, cluster
from vitreous.analysis.decoders import Decoder, VolumeSource, volumes_of
from vitreous.analysis.embedding import embed_umap
from vitreous.analysis.epochs import checked_latents, find_epoch
from vitreous.analysis.facts import run_facts
from vitreous.analysis.latent_files import write_clusters, write_components, write_umap
from vitreous.analysis.latent_plots import draw_latent
from vitreous.analysis.latent_structure import latent_structure
from vitreous.analysis.paths import component_path, nearest_points
from vitreous.analysis.plots import plot_learning_curve
from vitreous.analysis.portraits import Portraits, draw_portraits
from vitreous.analysis.pose_scores import score_found_poses
from vitreous.analysis.postprocess import VolumeOptions
from vitreous.analysis.principal import PrincipalComponents, fit_components
from vitreous.analysis.report import write_report
from vitreous.analysis.run_report import LatentParts, build_report
from vitreous.analysis.series import write_series
from vitreous.analysis.truth_scores import check_truth_volumes, match_truth, score_run
from vitreous.analysis.variables import particle_table
from vitreous.errors import InputError
from vitreous.files import write_text
from vitreous.metrics.truth import Truth
from vitreous.particles.peer_pickles import save_latent_pickle
from vitreous.particles.table import ParticleTable
from vitreous.training.run import Latents, Run

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
_FROM: dict[VolumeSource, str] = {
    "decoder": "decoded",
    "regression": "of the images near each point, by kernel regression",
}


@dataclass(frozen=True)
class AnalyzeOptions:
    """Say what to analyse.

    `volumes`, `umap`: whether to decode volumes, to embed by UMAP (only above two dimensions).
    `source` of the volumes: what the run learnt to decode, or regression over its images.
    `components`: how many to walk along, with `steps` volumes each. `clusters`: of k-means.
    `pixel_size`: Å per decoded voxel, the run's own if None. `first`: number of the first file
    of a series. `truth_images`: images the per-image FSC is averaged over. `picture`: pixels.
    """

    volumes: bool = True
    umap: bool = True
    source: VolumeSource = "decoder"
    components: int = 2
    steps: int = 10
    clusters: int = 20
    pixel_size: float | None = None
    treatment: VolumeOptions = field(default_factory=VolumeOptions)
    first: int = 1
    truth_images: int = 20
    picture: int = 256
    seed: int = 0


@dataclass(frozen=True)
class Analysis:
    """What an analysis found. `report` is the path of the page."""

    folder: Path
    report: Path
    z: Float[np.ndarray, "n d"]
    components: PrincipalComponents
    umap: Float[np.ndarray, "n 2"] | None
    clusters: Clusters
    scores: dict[str, float]


def analyze(
    run: Run,
    epoch: int | None = None,
    options: AnalyzeOptions | None = None,
    folder: Path | None = None,
    truth: Truth | None = None,
    progress: Progress | None = None,
) -> Analysis:
    """Analyse the latent of a run, write `analyze.N/` and its report.

    **Arguments:** `epoch`: the last if None or −1. `folder`: in place of `analyze.N` in the run.
    `truth`: of a simulated set, for scores. `progress(stage, done, total)` is told of each step.

    **Raises:** `InputError` if the run has no latent or no such epoch, or options do not fit.
    """
    options = options or AnalyzeOptions()
    tell = progress or (lambda stage, done, total: None)
    epoch = find_epoch(run, epoch)
    latents = checked_latents(run, epoch)
    z = np.asarray(latents.mean, np.float32)
    pixel_size = options.pixel_size or run.pixel_size
    _check(run, z, options, pixel_size)
    table = particle_table(run, len(z))
    if truth is not None:
        truth = match_truth(truth, len(z), table)
        if options.volumes:
            check_truth_volumes(truth, run.box, pixel_size)
    folder = run.path / f"analyze.{epoch}" if folder is None else folder
    _write_peer_latents(run, epoch, latents)

    parts = _cut(z, folder, options, tell)
    decoder = volumes_of(run, epoch, options.source)
    portraits = Portraits()
    if options.volumes:
        portraits = _draw_volumes(parts, decoder, folder, pixel_size, options, tell)
    scores: dict[str, float] = {}
    if truth is not None:
        decode = decoder.decode if options.volumes else None
        scores = _score(run, z, table, truth, decode, pixel_size, options.truth_images, tell)
        write_text(folder / "scores.json", json.dumps(scores, indent=1) + "\n")
    tell("structure of the latent", 0, 1)
    structure = latent_structure(z, table, options.seed)
    write_text(folder / "structure.json", json.dumps(structure.as_dict(), indent=1) + "\n")
    tell("structure of the latent", 1, 1)
    tell("report", 0, 1)
    report = build_report(
        run, epoch, parts, table, truth, structure, portraits, scores,
        [*run_facts(run, epoch, z.shape[1], pixel_size), ("volumes", _FROM[options.source])],
        folder,
    )  # fmt: skip
    if report.curves:
        file = folder / f"learning_curve_epoch{epoch}.png"
        plot_learning_curve(file, report.epochs, report.curves)
    write_report(folder / "report.html", report)
    if folder.parent == run.path:
        write_report(run.path / "report.html", report)
    tell("report", 1, 1)
    return Analysis(
        folder, folder / "report.html", z, parts.components, parts.umap, parts.clusters, scores
    )


def _cut(z: np.ndarray, folder: Path, options: AnalyzeOptions, tell: Progress) -> LatentParts:
    """Find components, clusters and an embedding; write and draw them."""
    tell("principal components", 0, 1)
    components = fit_components(z)
    scores = components.transform(z)
    write_components(folder / "pca.npz", components, scores)
    tell("principal components", 1, 1)
    clusters = cluster(z, options.clusters, options.seed)
    centres = folder / f"kmeans{len(clusters)}"
    write_clusters(centres, clusters)
    umap = None
    if options.umap and z.shape[1] > 2:
        tell("UMAP", 0, 1)
        umap = embed_umap(z, options.seed)
        write_umap(folder, umap)
        tell("UMAP", 1, 1)
    draw_latent(folder, centres, z, components, scores, umap, clusters)
    count = min(options.components, len(components.axes))
    is_line = z.shape[1] == 1
    ways = [
        component_path(z, k + 1, options.steps, components=components, by_percentile=is_line)
        for k in range(count)
    ]
    return LatentParts(z, components, scores, clusters, umap, ways)


def _score(
    run: Run,
    z: np.ndarray,
    table: ParticleTable | None,
    truth: Truth,
    decode: Callable[[np.ndarray], np.ndarray] | None,
    pixel_size: float,
    images: int,
    tell: Progress,
) -> dict[str, float]:
    """Score poses that the run found, volumes and latent."""
    scores, decode = score_found_poses(run, table, truth, decode, pixel_size)
    told = functools.partial(tell, "scores against the truth")
    return scores | score_run(z, decode, truth, images, told)


def _check(run: Run, z: np.ndarray, options: AnalyzeOptions, pixel_size: float) -> None:
    """Find what cannot work before the work starts."""
    if len(z) < 3:
        raise InputError(f"{run.path}: {len(z)} particles are too few to analyze")
    if options.clusters < 1 or options.components < 0 or options.steps < 2:
        raise InputError("--ksample must be at least 1, --pc at least 0, --n-per-pc at least 2")
    if pixel_size <= 0:
        raise InputError(f"--Apix must be positive, not {pixel_size}")
    options.treatment.check(run.box, pixel_size)


def _write_peer_latents(run: Run, epoch: int, latents: Latents) -> None:
    """Leave `z.N.pkl` where cryoDRGN's tools look for it."""
    file = run.path / f"z.{epoch}.pkl"
    if not file.exists():
        save_latent_pickle(file, latents.mean, latents.log_variance)


def _draw_volumes(
    parts: LatentParts,
    decoder: Decoder,
    folder: Path,
    pixel_size: float,
    options: AnalyzeOptions,
    tell: Progress,
) -> Portraits:
    """Write and draw the volumes at the cluster centres, and those along each component."""
    centres = folder / f"kmeans{len(parts.clusters)}"
    wanted = [("cluster centres", centres, parts.clusters.centres)]
    for k, way in enumerate(parts.ways, 1):
        wanted.append((f"principal component {k}", folder / f"pc{k}", way))
    series = [
        write_series(
            decoder.decode, z, where, pixel_size, options.treatment,
            first=options.first, title=name, is_path=where is not centres,
            progress=functools.partial(tell, f"volumes: {name}"),
        )
        for name, where, z in wanted
    ]  # fmt: skip
    nearest = [nearest_points(way, parts.z) for way in parts.ways]
    return draw_portraits(
        series[0], parts.clusters.centre_index, series[1:], nearest, options.picture, tell
    )

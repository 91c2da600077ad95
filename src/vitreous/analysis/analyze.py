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
from vitreous.analysis.facts import learning_curves, resolution_curves, run_facts
from vitreous.analysis.latent_files import write_clusters, write_components, write_umap
from vitreous.analysis.latent_plots import draw_latent
from vitreous.analysis.latent_structure import latent_structure
from vitreous.analysis.outliers import outlier_score
from vitreous.analysis.paths import component_path, nearest_points
from vitreous.analysis.plots import plot_learning_curve
from vitreous.analysis.portraits import Portraits, draw_portraits
from vitreous.analysis.pose_page import pose_section, pose_summary
from vitreous.analysis.pose_scores import in_true_frame, score_poses
from vitreous.analysis.postprocess import VolumeOptions
from vitreous.analysis.principal import PrincipalComponents, fit_components
from vitreous.analysis.report import Report, write_report
from vitreous.analysis.series import Series, write_series
from vitreous.analysis.truth_scores import check_truth_volumes, match_truth, score_run
from vitreous.analysis.variables import (
    Variable,
    latent_rows,
    latent_variables,
    particle_table,
    table_variables,
    truth_variables,
)
from vitreous.errors import InputError
from vitreous.files import write_text
from vitreous.metrics.truth import Truth
from vitreous.particles.peer_pickles import save_latent_pickle
from vitreous.training.run import Latents, Run

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
_FROM: dict[VolumeSource, str] = {
    "decoder": "decoded",
    "regression": "of the images near each point, by kernel regression",
}

# Particles up to which each gets an outlier score in the report; `select` gives it to any number.
_SCORED = 200_000


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


def find_epoch(run: Run, epoch: int | None) -> int:
    """Find the epoch meant: the last with a checkpoint for None or −1.

    **Raises:** `InputError` if it has no checkpoint.
    """
    epochs = run.epochs()
    if not epochs:
        raise InputError(f"{run.path}: no epoch is complete yet; nothing to analyze")
    if epoch is None or epoch == -1:
        return epochs[-1]
    if epoch not in epochs:
        has = ", ".join(map(str, epochs))
        raise InputError(f"{run.path}: no checkpoint of epoch {epoch} (epochs with one: {has})")
    return epoch


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
    ways = [
        component_path(
            z, i + 1, options.steps, components=components, by_percentile=z.shape[1] == 1
        )
        for i in range(min(options.components, len(components.axes)))
    ]

    portraits = Portraits()
    decoder = volumes_of(run, epoch, options.source)
    if options.volumes:
        decoded = _decode(decoder, folder, centres, clusters, ways, pixel_size, options, tell)
        nearest = [nearest_points(way, z) for way in ways]
        portraits = draw_portraits(
            decoded[0], clusters.centre_index, decoded[1:], nearest, options.picture, tell
        )
    truth_table: dict[str, float] = {}
    if truth is not None:
        told = functools.partial(tell, "scores against the truth")
        decode = decoder.decode if options.volumes else None
        if table is not None and pose_summary(run) is not None:
            posed = score_poses(table, truth)
            if posed is not None:
                truth_table, alignment = posed
                decode = decode and in_true_frame(decode, alignment, pixel_size)
        truth_table |= score_run(z, decode, truth, options.truth_images, told)
        write_text(folder / "scores.json", json.dumps(truth_table, indent=1) + "\n")
    epochs, curves = learning_curves(run.metrics(), epoch)
    if curves:
        plot_learning_curve(folder / f"learning_curve_epoch{epoch}.png", epochs, curves)

    tell("structure of the latent", 0, 1)
    structure = latent_structure(z, table, options.seed)
    write_text(folder / "structure.json", json.dumps(structure.as_dict(), indent=1) + "\n")
    tell("structure of the latent", 1, 1)
    variables = latent_variables(scores, z, umap, clusters)
    if len(z) <= _SCORED:
        variables.append(Variable("outlier score", outlier_score(z)))
    variables += table_variables(table) if table is not None else []
    variables += truth_variables(truth) if truth is not None else []
    report = Report(
        title=run.path.name,
        facts=[
            *run_facts(run, epoch, z.shape[1], pixel_size),
            ("volumes", _FROM[options.source]),
            *structure.facts(),
        ],
        variables=variables,
        presets=_presets([v.name for v in variables]),
        clusters=clusters,
        row=latent_rows(run, table, len(z)),
        volumes=portraits.volumes,
        paths=portraits.paths,
        epochs=epochs,
        curves=curves,
        fsc=resolution_curves(run),
        scores=truth_table,
        folder=str(folder),
        poses=pose_section(run),
    )
    tell("report", 0, 1)
    write_report(folder / "report.html", report)
    if folder.parent == run.path:
        write_report(run.path / "report.html", report)
    tell("report", 1, 1)
    return Analysis(folder, folder / "report.html", z, components, umap, clusters, truth_table)


def checked_latents(run: Run, epoch: int) -> Latents:
    """Read the latents of an epoch.

    **Raises:** `InputError` if the run has none, or they hold NaN.
    """
    if run.config.get("zdim") == 0 and pose_summary(run) is not None:
        raise InputError(
            f"{run.path}: one map and no latent to analyze; its poses and map are in report.html"
        )
    latents = run.latents(epoch)
    if latents.mean.shape[1] == 0:
        raise InputError(f"{run.path}: a homogeneous fit has no latent to analyze; see eval-vol")
    bad = np.flatnonzero(~np.isfinite(latents.mean).all(axis=1))
    if bad.size:
        raise InputError(
            f"{run.path}: the latents of epoch {epoch} hold NaN (first in row {bad[0]}, "
            f"{bad.size} rows in all); analyze an earlier epoch"
        )
    return latents


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


def _decode(
    decoder: Decoder,
    folder: Path,
    centres: Path,
    clusters: Clusters,
    ways: list[np.ndarray],
    pixel_size: float,
    options: AnalyzeOptions,
    tell: Progress,
) -> list[Series]:
    """Write the volumes at the cluster centres, then those along each component."""
    names = ["cluster centres", *(f"principal component {i + 1}" for i in range(len(ways)))]
    folders = [centres, *(folder / f"pc{i + 1}" for i in range(len(ways)))]
    latents = [clusters.centres, *ways]
    series = []
    for name, where, z in zip(names, folders, latents, strict=True):
        told = functools.partial(tell, f"volumes: {name}")
        series.append(
            write_series(
                decoder.decode,
                z,
                where,
                pixel_size,
                options.treatment,
                first=options.first,
                title=name,
                is_path=where is not centres,
                progress=told,
            )
        )
    return series


def _presets(names: list[str]) -> list[tuple[str, str, str]]:
    """Choose the planes a report offers: components, UMAP, and what 1-D latents need."""
    presets = []
    if "PC2" in names:
        presets.append(("PC1 – PC2", "PC1", "PC2"))
    elif "spread (random)" in names:
        presets.append(("z", "z1", "spread (random)"))
    else:
        presets.append(("PC1", "PC1", "PC1"))
    if "PC4" in names:
        presets.append(("PC3 – PC4", "PC3", "PC4"))
    if "UMAP1" in names:
        presets.append(("UMAP", "UMAP1", "UMAP2"))
    truth = next((n for n in names if n.startswith("truth: ") and n != "truth: state"), None)
    if truth is not None:
        presets.append(("PC1 – truth", truth, "PC1"))
    return presets

"""From a run to `landscape.N/`: a thousand volumes, their principal components and their states.

The latent space is sketched by k-means; the volume at each centre stands for the particles about
it. Volumes are then compared with volumes, so that states are told by what they look like.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from scipy.cluster.hierarchy import fcluster, leaves_list, linkage
from scipy.spatial.distance import squareform
from sklearn.cluster import KMeans

from vitreous.analysis.candidates import Candidates
from vitreous.analysis.clusters import Clusters
from vitreous.analysis.decoders import Decoder, VolumeSource, volumes_of
from vitreous.analysis.landscape_files import (
    draw_landscape,
    write_space,
    write_states,
    write_traversals,
)
from vitreous.analysis.latent_files import write_clusters
from vitreous.analysis.postprocess import VolumeOptions, process_volume
from vitreous.analysis.series import write_z_values
from vitreous.analysis.volume_space import (
    VolumeSpace,
    fit_volume_space,
    read_rows,
    survey,
    union_mask,
)
from vitreous.errors import InputError
from vitreous.files import write_text
from vitreous.maps import read_map, write_map
from vitreous.training.run import Run

Progress = Callable[[str, int, int], None]
Linkage = Literal["average", "complete", "single", "ward"]
# Points k-means looks at: more do not move a thousand centres.
_LARGEST = 100_000


@dataclass(frozen=True)
class LandscapeOptions:
    """Say how a landscape is made.

    `sketch`: volumes. `states`: of the hierarchical clustering, with `linkage`. `components`: of
    the volumes; along the first `traversals` of them `steps` volumes are written. `threshold`
    (density), `dilate`, `soft_edge` (Å) of the mask, or `mask`, a file. `volumes_exist`: take
    those of an earlier call. `chosen`: latents to decode, in place of k-means.
    """

    sketch: int = 1000
    states: int = 10
    linkage: Linkage = "average"
    components: int = 20
    traversals: int = 5
    steps: int = 10
    source: VolumeSource = "decoder"
    pixel_size: float | None = None
    treatment: VolumeOptions = field(default_factory=VolumeOptions)
    threshold: float | None = None
    dilate: float = 5.0
    soft_edge: float = 0.0
    mask: Path | None = None
    chosen: Int[np.ndarray, " k"] | None = None
    volumes_exist: bool = False
    first: int = 1
    seed: int = 0


@dataclass(frozen=True)
class Landscape:
    """What was found. `state` (from 0) and `scores` of each sketched volume, `particle_state` of
    each particle; `sketch`: which volume stands for which particles."""

    folder: Path
    sketch: Clusters
    space: VolumeSpace
    scores: Float[np.ndarray, "m c"]
    state: Int[np.ndarray, " m"]

    @property
    def particle_state(self) -> Int[np.ndarray, " n"]:
        """The state of each particle, from 0."""
        return self.state[self.sketch.labels]


def analyze_landscape(
    run: Run,
    epoch: int,
    options: LandscapeOptions | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Landscape:
    """Decode a sketch of the latent space, and cut it into states by what the volumes look like.

    **Raises:** `InputError` if the run has no latent, or options do not fit.
    """
    from vitreous.analysis.analyze import checked_latents

    options = options or LandscapeOptions()
    tell = progress or (lambda stage, done, total: None)
    z = np.asarray(checked_latents(run, epoch).mean, np.float32)
    size = options.pixel_size or run.pixel_size
    _check(run, z, options, size)
    folder = run.path / f"landscape.{epoch}" if folder is None else folder
    tell("k-means", 0, 1)
    centres = sketch_latent(z, options.sketch, options.seed, options.chosen)
    tell("k-means", 1, 1)
    volumes = folder / f"kmeans{len(centres)}"
    files = [volumes / f"vol_{options.first + k:03d}.mrc" for k in range(len(centres))]
    if not options.volumes_exist:
        decode_to_files(
            volumes_of(run, epoch, options.source), centres.centres, files, size, options.treatment,
            lambda done, total: tell("volumes", done, total),
        )  # fmt: skip
    elif missing := [file for file in files if not file.is_file()]:
        raise InputError(f"{missing[0]}: no such volume; leave --skip-vol out once")
    write_clusters(volumes, centres)
    write_z_values(volumes / "z_values.txt", centres.centres)

    tell("mask", 0, 1)
    highest, thresholds, voxel = survey(files)
    if options.mask is None:
        mask = union_mask(
            highest, thresholds, voxel, options.threshold, options.dilate, options.soft_edge
        )
    else:
        mask = np.clip(read_map(options.mask).data, 0, 1)
    if mask.shape != highest.shape or not mask.any():
        raise InputError(
            f"{options.mask or 'the mask'}: {mask.shape} voxels, {np.count_nonzero(mask)} of them "
            f"in use, for volumes of {highest.shape}"
        )
    write_map(folder / "mask.mrc", mask, voxel)
    tell("mask", 1, 1)
    tell("volume components", 0, 1)
    space, scores, distance = fit_volume_space(read_rows(files, mask), mask, options.components)
    write_space(folder, space, scores, voxel)
    tell("volume components", 1, 1)
    write_traversals(folder, space, scores, voxel, options.traversals, options.steps)
    state = cut_into_states(distance, options.states, options.linkage)
    found = Landscape(folder, centres, space, scores, state)
    tell("states", 0, 1)
    states = folder / f"sketch_clustering_{options.linkage}_{state.max() + 1}"
    write_states(states, found, files, voxel, Candidates(run.path, epoch).rows)
    draw_landscape(folder, states, found)
    write_text(folder / "landscape.json", json.dumps(_facts(found, epoch, options, size)) + "\n")
    tell("states", 1, 1)
    return found


def sketch_latent(
    z: Float[np.ndarray, "n d"],
    count: int,
    seed: int = 0,
    chosen: Int[np.ndarray, " k"] | None = None,
) -> Clusters:
    """Choose particles that cover a latent space, and say which of them stands for each other.

    **Arguments:** `chosen`: rows to use instead; every particle goes to the nearest.
    """
    if chosen is None:
        few = z
        if len(z) > _LARGEST:
            few = z[np.sort(np.random.default_rng(seed).permutation(len(z))[:_LARGEST])]
        count = min(count, len(np.unique(few, axis=0)))
        means = KMeans(count, random_state=seed, n_init=1, max_iter=50).fit(few).cluster_centers_
        chosen = np.unique(_nearest(means.astype(np.float32), z))
    labels = _nearest(z, z[chosen])
    labels[chosen] = np.arange(len(chosen))
    return Clusters(labels, z[chosen], chosen.astype(np.int64))


def _nearest(points: np.ndarray, centres: np.ndarray, batch: int = 8192) -> np.ndarray:
    square = np.sum(centres**2, axis=1)
    parts = [
        np.argmin(square - 2 * points[k : k + batch] @ centres.T, axis=1)
        for k in range(0, len(points), batch)
    ]
    return np.concatenate(parts).astype(np.int64)


def decode_to_files(
    decoder: Decoder,
    z: Float[np.ndarray, "m d"],
    files: list[Path],
    voxel_size: float,
    treatment: VolumeOptions,
    progress: Callable[[int, int], None],
    batch: int = 8,
) -> None:
    """Decode volumes one batch at a time and write each into its file."""
    for start in range(0, len(z), batch):
        for k, volume in enumerate(np.asarray(decoder.decode(z[start : start + batch])), start):
            treated, size, origin = process_volume(volume, voxel_size, treatment)
            write_map(files[k], treated, size, origin)
        progress(min(start + batch, len(z)), len(z))


def cut_into_states(
    distance: Float[np.ndarray, "m m"], count: int, method: Linkage = "average"
) -> Int[np.ndarray, " m"]:
    """Cluster volumes by a hierarchical tree.

    States are numbered from 0 along the leaves of a tree of the states themselves, in optimal
    order: neighbours in number look alike.
    """
    if len(distance) < 2:
        return np.zeros(len(distance), np.int64)
    tree = linkage(squareform(distance, checks=False), method)
    labels = fcluster(tree, min(count, len(distance)), "maxclust") - 1
    member = np.eye(labels.max() + 1)[labels]
    member /= member.sum(axis=0)
    apart = member.T @ distance @ member
    if len(apart) < 3:
        return labels.astype(np.int64)
    np.fill_diagonal(apart, 0)
    leaves = leaves_list(linkage(squareform(apart, checks=False), "average", optimal_ordering=True))
    return np.argsort(leaves)[labels].astype(np.int64)


def _check(run: Run, z: np.ndarray, options: LandscapeOptions, pixel_size: float) -> None:
    if len(z) < 4:
        raise InputError(f"{run.path}: {len(z)} particles are too few for a landscape")
    if min(options.sketch, options.states, options.components) < 2:
        raise InputError("a landscape needs 2 volumes, states and components or more")
    if options.chosen is not None and not ((options.chosen >= 0) & (options.chosen < len(z))).all():
        raise InputError(f"--vol-ind: rows must be 0 to {len(z) - 1}")
    options.treatment.check(run.box, pixel_size)


def _facts(
    found: Landscape, epoch: int, options: LandscapeOptions, pixel_size: float
) -> dict[str, object]:
    share = found.space.variance / max(found.space.total, 1e-30)
    counts = np.bincount(found.particle_state)
    return {
        "epoch": epoch,
        "volumes": len(found.sketch),
        "source": options.source,
        "pixel_size": pixel_size,
        "flip": options.treatment.flip,
        "downsample": options.treatment.downsample,
        "voxels_in_mask": int(found.space.inside.sum()),
        "explained": [round(float(s), 5) for s in share],
        "particles_of_states": counts.tolist(),
    }

"""From a run to `landscape.N/`: a thousand volumes, their principal components and their states.

The latent space is sketched by k-means; the volume at each centre stands for the particles about
it. Volumes are then compared with volumes, so that states are told by what they look like.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Int

from vitreous.analysis.candidates import Candidates
from vitreous.analysis.clusters import Clusters
from vitreous.analysis.decoders import VolumeSource, volumes_of
from vitreous.analysis.epochs import checked_latents
from vitreous.analysis.landscape_files import (
    draw_landscape,
    write_space,
    write_states,
    write_traversals,
)
from vitreous.analysis.latent_files import write_clusters
from vitreous.analysis.postprocess import VolumeOptions, process_volume
from vitreous.analysis.series import write_z_values
from vitreous.analysis.sketch import sketch_latent
from vitreous.analysis.volume_space import (
    VolumeSpace,
    fit_volume_space,
    read_rows,
    survey,
    union_mask,
)
from vitreous.analysis.volume_states import Linkage, cut_into_states
from vitreous.errors import InputError
from vitreous.files import write_text
from vitreous.maps import read_map, write_map
from vitreous.training.run import Run

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class LandscapeOptions:
    """Say how a landscape is made.

    `sketch`: volumes; `tolerance`: error each may have, see `Run.decode_many`. `states`: of the
    hierarchical clustering, with `linkage`. `components`: of the volumes; along the first
    `traversals` of them `steps` volumes are written. `threshold` (density), `dilate`, `soft_edge`
    (Å) of the mask, or `mask`, a file. `volumes_exist`: take those of an earlier call. `chosen`:
    latents to decode, in place of k-means.
    """

    sketch: int = 1000
    states: int = 10
    linkage: Linkage = "average"
    components: int = 20
    traversals: int = 5
    steps: int = 10
    source: VolumeSource = "decoder"
    tolerance: float = 0.01
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
    options = options or LandscapeOptions()
    tell = progress or (lambda stage, done, total: None)
    z = np.asarray(checked_latents(run, epoch).mean, np.float32)
    size = options.pixel_size or run.pixel_size
    _check(run, z, options, size)
    folder = run.path / f"landscape.{epoch}" if folder is None else folder
    tell("k-means", 0, 1)
    sketch = sketch_latent(z, options.sketch, options.seed, options.chosen)
    tell("k-means", 1, 1)
    files = _volumes(run, epoch, sketch, options, folder, size, tell)
    tell("mask", 0, 1)
    mask, voxel = _mask(files, options)
    write_map(folder / "mask.mrc", mask, voxel)
    tell("mask", 1, 1)
    tell("volume components", 0, 1)
    space, scores, distance = fit_volume_space(read_rows(files, mask), mask, options.components)
    write_space(folder, space, scores, voxel)
    write_traversals(folder, space, scores, voxel, options.traversals, options.steps)
    tell("volume components", 1, 1)
    tell("states", 0, 1)
    state = cut_into_states(distance, options.states, options.linkage)
    found = Landscape(folder, sketch, space, scores, state)
    states = folder / f"sketch_clustering_{options.linkage}_{state.max() + 1}"
    write_states(states, found, files, voxel, Candidates(run.path, epoch).rows)
    draw_landscape(folder, states, found)
    write_text(folder / "landscape.json", json.dumps(_facts(found, epoch, options, size)) + "\n")
    tell("states", 1, 1)
    return found


def _volumes(
    run: Run,
    epoch: int,
    sketch: Clusters,
    options: LandscapeOptions,
    folder: Path,
    pixel_size: float,
    tell: Progress,
) -> list[Path]:
    """Decode the volume at each centre into a file, unless they are there already."""
    where = folder / f"kmeans{len(sketch)}"
    files = [where / f"vol_{options.first + k:03d}.mrc" for k in range(len(sketch))]
    if options.volumes_exist:
        missing = next((file for file in files if not file.is_file()), None)
        if missing is not None:
            raise InputError(f"{missing}: no such volume; leave --skip-vol out once")
    else:
        done = 0
        decoder = volumes_of(run, epoch, options.source)
        for batch in decoder.many(sketch.centres, options.tolerance):
            for volume in batch:
                treated, size, origin = process_volume(volume, pixel_size, options.treatment)
                write_map(files[done], treated, size, origin)
                done += 1
            tell("volumes", done, len(files))
    write_clusters(where, sketch)
    write_z_values(where / "z_values.txt", sketch.centres)
    return files


def _mask(
    files: list[Path], options: LandscapeOptions
) -> tuple[Float32[np.ndarray, "n n n"], float]:
    """Find where volumes are compared, and the size of their voxels (Å)."""
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
    return mask, voxel


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

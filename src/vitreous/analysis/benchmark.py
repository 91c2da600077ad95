"""Score a run of simulated particles as the published benchmarks do, section by section."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from vitreous.analysis.benchmark_volumes import (
    Progress,
    Scored,
    Sections,
    fsc_sections,
    map_sections,
)
from vitreous.analysis.decoders import VolumeSource, volumes_of
from vitreous.analysis.epochs import checked_latents
from vitreous.analysis.latent_structure import latent_structure
from vitreous.analysis.pose_scores import score_found_poses
from vitreous.analysis.truth_scores import check_truth_volumes, match_truth
from vitreous.analysis.variables import particle_table
from vitreous.errors import InputError
from vitreous.maps import read_map
from vitreous.metrics.information_imbalance import euclidean_distances, information_imbalance
from vitreous.metrics.map_to_map import QUICK_DISTANCES, MapDistance
from vitreous.metrics.neighbourhoods import neighbourhood_curve
from vitreous.metrics.truth import Truth, score_latent
from vitreous.particles.table import ParticleTable
from vitreous.training.run import Run

# Points whose distances are compared with each other.
_COMPARED = 2000


@dataclass(frozen=True)
class BenchmarkOptions:
    """Say what is scored.

    `images`: of the per-image FSC. `exact`: CryoBench's own shells, sign and area (see
    `metrics.volume_scores`). `mask`: multiplied on volumes. `submitted`: volumes that stand for
    the run in the map-to-map comparison, by `distances` (see `metrics.map_distances`). `volumes`:
    whether to decode any.
    """

    images: int = 100
    exact: bool = True
    mask: Path | None = None
    submitted: int = 80
    distances: tuple[MapDistance, ...] = QUICK_DISTANCES
    volumes: bool = True
    source: VolumeSource = "decoder"
    seed: int = 0


def benchmark_run(
    run: Run,
    epoch: int,
    truth: Truth,
    options: BenchmarkOptions | None = None,
    progress: Progress | None = None,
) -> Sections:
    """Score a run against its truth.

    **Returns:** tables by the name of their section, in reading order; only what the truth
    allows.

    **Raises:** `InputError` if the truth or the mask is of another set.
    """
    options = options or BenchmarkOptions()
    tell = progress or (lambda stage, done, total: None)
    z = np.asarray(checked_latents(run, epoch).mean, np.float32)
    table = particle_table(run, len(z))
    truth = match_truth(truth, len(z), table)
    sections: Sections = {}
    decode = volumes_of(run, epoch, options.source).decode if options.volumes else None
    posed, decode = score_found_poses(run, table, truth, decode, run.pixel_size)
    if posed:
        sections["poses"] = posed
    if decode is not None and truth.volumes is not None and truth.labels is not None:
        check_truth_volumes(truth, run.box, run.pixel_size)
        mask = _mask(options.mask, run.box)
        scored = Scored(z, decode, truth.volumes, truth.labels, run.pixel_size, mask, options.seed)
        sections |= fsc_sections(scored, options.images, options.exact, tell)
        if options.submitted > 0:
            sections |= map_sections(scored, options.submitted, options.distances, tell)
    tell("latent", 0, 1)
    sections |= _latent_sections(z, truth, table, options.seed)
    tell("latent", 1, 1)
    return sections


def _latent_sections(
    z: np.ndarray, truth: Truth, table: ParticleTable | None, seed: int
) -> Sections:
    sections: Sections = {"latent": score_latent(z, truth)}
    coordinates = true_coordinates(truth)
    if coordinates is not None:
        sections["latent"] |= _neighbourhoods(z, coordinates)
        sections["latent"] |= _imbalance(z, coordinates, seed)
    structure = latent_structure(z, table, seed)
    sections["structure"] = {"intrinsic dimension": structure.dimension}
    for name, leak in structure.leaks.items():
        sections["structure"][f"Δ(z → {name})"] = leak.imbalance
        sections["structure"][f"Δ(z → {name}) by chance"] = leak.chance[0]
    return sections


def true_coordinates(truth: Truth) -> Float[np.ndarray, "n c"] | None:
    """Give each image's place on the true manifold: its coordinate, else its true volume's.

    An angle becomes cosine and sine; volumes are placed by their principal components.
    """
    if truth.coordinate is not None and np.ptp(truth.coordinate) > 0:
        if truth.period is None:
            return truth.coordinate[:, None].astype(np.float64)
        angle = 2 * np.pi * truth.coordinate / truth.period
        return np.stack([np.cos(angle), np.sin(angle)], axis=1)
    if truth.volumes is None or truth.labels is None:
        return None
    flat = truth.volumes.reshape(len(truth.volumes), -1).astype(np.float64)
    u, s, _ = np.linalg.svd(flat - flat.mean(axis=0), full_matrices=False)
    return (u * s)[truth.labels]


def _neighbourhoods(z: np.ndarray, coordinates: np.ndarray) -> dict[str, float]:
    # Images of one state tie: a trace of noise deals them a random order.
    scale = 1e-6 * max(float(np.std(coordinates)), 1e-12)
    noise = np.random.default_rng(0).standard_normal(coordinates.shape)
    curve = neighbourhood_curve(z.astype(np.float64), coordinates + scale * noise)
    if not curve.k:
        return {}
    found: dict[str, float] = {}
    for place in dict.fromkeys((0, len(curve.k) - 1)):
        k = curve.k[place]
        found[f"neighbourhood similarity, k = {k}"] = float(curve.mean[place])
        found[f"neighbourhood similarity, k = {k}, chance"] = float(curve.chance[place])
    return found


def _imbalance(z: np.ndarray, coordinates: np.ndarray, seed: int) -> dict[str, float]:
    rows = np.sort(np.random.default_rng(seed).permutation(len(z))[:_COMPARED])
    own = euclidean_distances(z[rows].astype(np.float64))
    found = information_imbalance(own, euclidean_distances(coordinates[rows]))
    return {"Δ(z → truth)": found.forward, "Δ(truth → z)": found.backward}


def _mask(path: Path | None, box: int) -> np.ndarray | None:
    if path is None:
        return None
    mask = read_map(path).data
    if mask.shape != (box, box, box):
        raise InputError(f"{path}: a mask of {mask.shape} for volumes of a box of {box}")
    return mask

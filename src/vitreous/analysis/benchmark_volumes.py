"""Score the volumes of a run against true ones: FSC, distances between maps, populations."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from vitreous.analysis.sketch import sketch_latent
from vitreous.metrics.b_factor import subspace_maps
from vitreous.metrics.map_to_map import MapDistance, captured_variance, map_distances, normalise
from vitreous.metrics.populations import score_populations
from vitreous.metrics.volume_scores import score_per_conformation, score_per_image

Progress = Callable[[str, int, int], None]
Sections = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Scored:
    """Hold what is compared: the latents of a run and what decodes them, and the truth.

    `labels`: the true state of each image, a row of `volumes`. `mask`: multiplied on all volumes.
    """

    z: Float[np.ndarray, "n d"]
    decode: Callable[[np.ndarray], np.ndarray]
    volumes: Float[np.ndarray, "states m m m"]
    labels: np.ndarray
    pixel_size: float
    mask: Float[np.ndarray, "m m m"] | None
    seed: int


def fsc_sections(scored: Scored, images: int, is_exact: bool, tell: Progress) -> Sections:
    """Score by FSC, per image and per conformation; see `metrics.volume_scores`."""
    s = scored
    compared = (s.decode, s.z, s.volumes, s.labels, s.pixel_size)
    image = score_per_image(
        *compared, images, s.mask, is_exact, lambda done, total: tell("FSC per image", done, total)
    )
    state = score_per_conformation(
        *compared, s.mask, is_exact, lambda done, total: tell("FSC per conformation", done, total)
    )
    return {"per-image FSC": image.summary(), "per-conformation FSC": state.summary()}


def map_sections(
    scored: Scored, submitted: int, distances: tuple[MapDistance, ...], tell: Progress
) -> Sections:
    """Compare maps with maps, and populations: k-means centres stand for their particles."""
    chosen = sketch_latent(scored.z, submitted, scored.seed)
    decoded = [scored.decode(chosen.centres[k : k + 8]) for k in range(0, len(chosen), 8)]
    theirs = normalise(np.concatenate(decoded), scored.mask)
    true_maps = normalise(scored.volumes, scored.mask)
    weight = np.bincount(scored.labels, minlength=len(true_maps)).astype(np.float64)
    flat = true_maps.reshape(len(true_maps), -1)
    first = np.linalg.svd(flat - flat.mean(axis=0), full_matrices=False)[0][:, 0]
    window = 5 if len(true_maps) >= 25 else 1
    maps: dict[str, float] = {"submitted volumes": float(len(chosen))}
    populations: dict[str, float] = {}
    for done, kind in enumerate(distances):
        tell("map to map", done, len(distances))
        cost = map_distances(true_maps, theirs, kind, scored.pixel_size)
        nearest = float(np.average(cost.min(axis=1), weights=weight))
        maps[f"{kind}, nearest to each true map"] = nearest
        claimed = chosen.sizes.astype(np.float64)
        score = score_populations(cost, weight, claimed, first, window, seed=scored.seed)
        populations[f"{kind}: earth mover's distance"] = score.emd
        populations[f"{kind}: least possible"] = score.emd_best
        populations[f"{kind}: KL of the best from the submitted"] = score.kl_forward
        populations[f"{kind}: KL of the submitted from the best"] = score.kl_backward
    rank = min(5, len(true_maps) - 1, len(theirs) - 1)
    one, two = (subspace_maps(m, scored.pixel_size) for m in (true_maps, theirs))
    maps[f"captured variance, rank {rank}"] = sum(captured_variance(one, two, rank)) / 2
    tell("map to map", len(distances), len(distances))
    return {"map to map": maps, "populations": populations}

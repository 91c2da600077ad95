"""Scores: volumes against true volumes, latents against true states, poses against true poses."""

from vitreous.metrics.association import (
    circular_correlation,
    circular_rank_correlation,
    graph_coordinates,
    plane_angle,
    spearman,
)
from vitreous.metrics.neighbours import (
    nearest_neighbours,
    neighbour_r2,
    neighbourhood_similarity,
    state_accuracy,
)
from vitreous.metrics.poses import PoseErrors, PoseSummary, pose_errors
from vitreous.metrics.truth import Truth, read_truth, score_latent
from vitreous.metrics.volume_fsc import (
    cryobench_auc,
    cryobench_fsc,
    every_nth,
    fsc_area,
    per_image_auc,
)

__all__ = [
    "PoseErrors",
    "PoseSummary",
    "Truth",
    "circular_correlation",
    "circular_rank_correlation",
    "cryobench_auc",
    "cryobench_fsc",
    "every_nth",
    "fsc_area",
    "graph_coordinates",
    "nearest_neighbours",
    "neighbour_r2",
    "neighbourhood_similarity",
    "per_image_auc",
    "plane_angle",
    "pose_errors",
    "read_truth",
    "score_latent",
    "spearman",
    "state_accuracy",
]

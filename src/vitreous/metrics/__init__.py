"""Scores: volumes against true volumes, latents against true states, poses against true poses."""

from vitreous.metrics.association import (
    circular_correlation,
    circular_rank_correlation,
    graph_coordinates,
    plane_angle,
    spearman,
)
from vitreous.metrics.b_factor import normalise_b_factor, subspace_maps
from vitreous.metrics.deformation import deformation_distance
from vitreous.metrics.information_imbalance import (
    Imbalance,
    euclidean_distances,
    information_imbalance,
    rotation_distances,
    view_distances,
)
from vitreous.metrics.intrinsic_dimension import intrinsic_dimension
from vitreous.metrics.map_to_map import captured_variance, map_distances, normalise
from vitreous.metrics.neighbourhoods import NeighbourhoodCurve, neighbourhood_curve
from vitreous.metrics.neighbours import (
    nearest_neighbours,
    neighbour_r2,
    neighbourhood_similarity,
    state_accuracy,
)
from vitreous.metrics.point_clouds import (
    gromov_wasserstein,
    point_cloud,
    procrustes_wasserstein,
)
from vitreous.metrics.populations import (
    PopulationScore,
    earth_movers_distance,
    score_populations,
)
from vitreous.metrics.poses import PoseErrors, PoseSummary, pose_errors
from vitreous.metrics.published import PUBLISHED, Published, published_rows
from vitreous.metrics.truth import Truth, read_truth, score_latent
from vitreous.metrics.volume_fsc import (
    cryobench_auc,
    cryobench_fsc,
    every_nth,
    fsc_area,
    per_image_auc,
)
from vitreous.metrics.volume_scores import (
    VolumeScores,
    fsc_score,
    score_per_conformation,
    score_per_image,
)

__all__ = [
    "PUBLISHED",
    "Imbalance",
    "NeighbourhoodCurve",
    "PopulationScore",
    "PoseErrors",
    "PoseSummary",
    "Published",
    "Truth",
    "VolumeScores",
    "captured_variance",
    "circular_correlation",
    "circular_rank_correlation",
    "cryobench_auc",
    "cryobench_fsc",
    "deformation_distance",
    "earth_movers_distance",
    "euclidean_distances",
    "every_nth",
    "fsc_area",
    "fsc_score",
    "graph_coordinates",
    "gromov_wasserstein",
    "information_imbalance",
    "intrinsic_dimension",
    "map_distances",
    "nearest_neighbours",
    "neighbour_r2",
    "neighbourhood_curve",
    "neighbourhood_similarity",
    "normalise",
    "normalise_b_factor",
    "per_image_auc",
    "plane_angle",
    "point_cloud",
    "pose_errors",
    "procrustes_wasserstein",
    "published_rows",
    "read_truth",
    "rotation_distances",
    "score_latent",
    "score_per_conformation",
    "score_per_image",
    "score_populations",
    "spearman",
    "state_accuracy",
    "subspace_maps",
    "view_distances",
]

"""Score poses that a run found against true ones, and lay its volumes into the true frame."""

from collections.abc import Callable

import numpy as np

from vitreous.metrics.poses import pose_errors
from vitreous.metrics.truth import Truth
from vitreous.particles.table import ParticleTable
from vitreous.reconstruction.volume_alignment import Alignment

Decode = Callable[[np.ndarray], np.ndarray]


def score_poses(table: ParticleTable, truth: Truth) -> tuple[dict[str, float], Alignment] | None:
    """Compare poses after global alignment, both hands tried; None if one side knows none.

    **Returns:** the scores, and how volumes of the run lie in the frame of the truth.
    """
    if table.rotation is None or truth.rotation is None:
        return None
    errors = pose_errors(table.rotation, truth.rotation, table.shift, truth.shift)
    figures = errors.summary()
    scores = {
        "pose error, median (°)": figures.median,
        "poses within 10°, share": figures.share_within_10,
        "poses within 20°, share": figures.share_within_20,
        "poses beyond 90°, share": figures.share_beyond_90,
        "out of plane, median (°)": figures.median_out_of_plane,
        "in plane, median (°)": figures.median_in_plane,
    }
    if figures.median_shift is not None:
        scores["shift error, median (Å)"] = figures.median_shift
    alignment = Alignment(errors.rotation.T, errors.origin, errors.is_mirrored, 0.0)
    return scores, alignment


def in_true_frame(decode: Decode, alignment: Alignment, voxel_size: float) -> Decode:
    """Turn every decoded volume as an alignment says."""

    def turned(z: np.ndarray) -> np.ndarray:
        return np.stack([alignment.apply(volume, voxel_size) for volume in decode(z)])

    return turned

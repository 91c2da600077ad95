"""Score poses that a run found against true ones, and lay its volumes into the true frame."""

from collections.abc import Callable

import numpy as np

from vitreous.analysis.pose_page import pose_summary
from vitreous.metrics.poses import pose_errors
from vitreous.metrics.truth import Truth
from vitreous.particles.table import ParticleTable
from vitreous.reconstruction.volume_alignment import Alignment
from vitreous.training.run import Run

Decode = Callable[[np.ndarray], np.ndarray]


def score_poses(
    table: ParticleTable, truth: Truth, symmetry: str = "C1"
) -> tuple[dict[str, float], Alignment] | None:
    """Compare poses after global alignment, both hands tried; None if one side knows none.

    **Arguments:** `symmetry`: point group modulo which poses are compared.

    **Returns:** the scores, and how volumes of the run lie in the frame of the truth.
    """
    if table.rotation is None or truth.rotation is None:
        return None
    errors = pose_errors(table.rotation, truth.rotation, table.shift, truth.shift, symmetry)
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


def score_found_poses(
    run: Run,
    table: ParticleTable | None,
    truth: Truth,
    decode: Decode | None,
    voxel_size: float,
) -> tuple[dict[str, float], Decode | None]:
    """Score poses that a run found or refined, if it did.

    **Returns:** the scores, and what decodes in the frame of the truth: of a run that was given
    poses it is the frame of the run.
    """
    posed = None
    if table is not None and (run.path / "poses.npz").is_file():
        symmetry = run.config.get("abinitio", {}).get("symmetry", "C1")
        posed = score_poses(table, truth, symmetry)
    if posed is None:
        return {}, decode
    scores, alignment = posed
    if decode is None or pose_summary(run) is None:
        return scores, decode
    return scores, in_true_frame(decode, alignment, voxel_size)


def in_true_frame(decode: Decode, alignment: Alignment, voxel_size: float) -> Decode:
    """Turn every decoded volume as an alignment says."""

    def turned(z: np.ndarray) -> np.ndarray:
        return np.stack([alignment.apply(volume, voxel_size) for volume in decode(z)])

    return turned

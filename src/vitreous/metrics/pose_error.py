"""Pose errors after the freedom that no experiment fixes: one global rotation, origin and hand.

`R` maps volume to image. A volume turned by `G` has poses `R Gᵀ`; its mirror image through the
xy plane has poses `J R J`, `J = diag(1, 1, −1)`.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from vitreous.geometry.rotations import geodesic_distance

MIRROR = np.diag([1.0, 1.0, -1.0])


@dataclass(frozen=True)
class PoseErrors:
    """Errors image by image, and the alignment that was taken out.

    `angle`: degrees; `shift`: Å, or None; `is_mirrored`: whether the estimate had the other hand;
    `rotation`: `G` with `R_estimate ≈ R_truth Gᵀ`; `origin`: Å, the centre of the estimate's
    volume as seen in the true one.
    """

    angle: Float[np.ndarray, " n"]
    shift: Float[np.ndarray, " n"] | None
    is_mirrored: bool
    rotation: Float[np.ndarray, "3 3"]
    origin: Float[np.ndarray, " 3"]


def mean_rotation(rotations: Float[np.ndarray, "n 3 3"]) -> Float[np.ndarray, "3 3"]:
    """Find the rotation nearest to all of them in summed squared Frobenius distance."""
    u, _, vt = np.linalg.svd(rotations.mean(axis=0))
    return u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt


def _global_rotation(
    estimate: Float[np.ndarray, "n 3 3"], truth: Float[np.ndarray, "n 3 3"]
) -> tuple[np.ndarray, float]:
    """Find the `G` of smallest median error, robust to many wrong poses; give that error too."""
    relative = np.swapaxes(estimate, -1, -2) @ truth
    rng = np.random.default_rng(0)
    picks = relative[rng.permutation(len(relative))[:30]]
    candidates = np.concatenate([mean_rotation(relative)[None], picks])
    best, best_error = candidates[0], np.inf
    for candidate in candidates:
        error = np.median(geodesic_distance(relative, candidate[None]))
        if error < best_error:
            best, best_error = candidate, float(error)
    for _ in range(5):
        distance = geodesic_distance(relative, best[None])
        refined = mean_rotation(relative[distance <= np.median(distance)])
        error = float(np.median(geodesic_distance(relative, refined[None])))
        if error >= best_error:
            break
        best, best_error = refined, error
    return best, best_error


def pose_errors(
    estimate: Float[np.ndarray, "n 3 3"],
    truth: Float[np.ndarray, "n 3 3"],
    shift_estimate: Float[np.ndarray, "n 2"] | None = None,
    shift_truth: Float[np.ndarray, "n 2"] | None = None,
) -> PoseErrors:
    """Compare estimated with true poses after global alignment, both hands tried.

    **Arguments:** rotations `x_image = R x_volume`; shifts in Å.

    **Returns:** errors image by image. The alignment minimises the median angle, so a minority
    of lost images does not spoil the rest; shifts are compared after the best common 3-D origin
    (least squares over the images within the median angle).

    **Source:** alignment by trial relative rotations as in CryoBench, polished by a mean.
    """
    estimate, truth = estimate.astype(np.float64), truth.astype(np.float64)
    straight = _global_rotation(estimate, truth)
    flipped = _global_rotation(MIRROR @ estimate @ MIRROR, truth)
    is_mirrored = flipped[1] < straight[1]
    rotation = (flipped if is_mirrored else straight)[0]
    aligned = (MIRROR @ estimate @ MIRROR if is_mirrored else estimate) @ rotation
    angle = geodesic_distance(aligned, truth)
    origin, error = np.zeros(3), None
    if shift_estimate is not None and shift_truth is not None:
        offset = shift_estimate.astype(np.float64) - shift_truth
        good = angle <= np.median(angle)
        design = truth[good, :2, :].reshape(-1, 3)
        origin = np.linalg.lstsq(design, offset[good].reshape(-1), rcond=None)[0]
        error = np.linalg.norm(offset - truth[:, :2, :] @ origin, axis=-1)
    return PoseErrors(angle, error, bool(is_mirrored), rotation, origin)

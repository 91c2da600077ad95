"""Pose errors after the freedom that no experiment fixes: one global rotation, origin and hand.

`R` maps volume to image. A volume turned by `G` has poses `R Gᵀ`; its mirror image through the
xy plane has poses `J R J`, `J = diag(1, 1, −1)`; a volume that a rotation `S` leaves unchanged
has the poses `R S` as well as `R`.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from vitreous.geometry.hand import mirror_rotations
from vitreous.geometry.point_groups import point_group
from vitreous.geometry.rotations import geodesic_distance

# Poses farther than this from the rest say nothing about the global rotation; the kernel that
# scores candidates is narrower, so that the densest crowd wins, not the largest cloud.
_REACH, _KERNEL = 30.0, 10.0
_CANDIDATES, _JUDGES = 500, 2000


@dataclass(frozen=True)
class PoseSummary:
    """Hold the figures of a set of poses: medians in degrees and Å, shares from 0 to 1."""

    images: int
    median: float
    share_within_10: float
    share_within_20: float
    share_beyond_90: float
    median_out_of_plane: float
    median_in_plane: float
    median_shift: float | None


@dataclass(frozen=True)
class PoseErrors:
    """Errors image by image, and the alignment that was taken out.

    `angle`: degrees, the geodesic distance; `out_of_plane`, `in_plane`: degrees, how far the beam
    is off, and the turn about it that is left (`angle² ≈ out² + in²` for small errors); `shift`:
    Å, or None; `copy`: which rotation of the point group is nearest, 0 for the most frequent;
    `is_mirrored`: whether the estimate had the other hand; `rotation`: `G` with
    `R_estimate ≈ R_truth Gᵀ`; `origin`: Å, the centre of the estimate's volume as seen in the
    true one.
    """

    angle: Float[np.ndarray, " n"]
    out_of_plane: Float[np.ndarray, " n"]
    in_plane: Float[np.ndarray, " n"]
    shift: Float[np.ndarray, " n"] | None
    copy: Int[np.ndarray, " n"]
    is_mirrored: bool
    rotation: Float[np.ndarray, "3 3"]
    origin: Float[np.ndarray, " 3"]

    def summary(self) -> PoseSummary:
        """Return medians and shares."""
        angle = self.angle
        return PoseSummary(
            images=len(angle),
            median=float(np.median(angle)),
            share_within_10=float(np.mean(angle < 10)),
            share_within_20=float(np.mean(angle < 20)),
            share_beyond_90=float(np.mean(angle > 90)),
            median_out_of_plane=float(np.median(self.out_of_plane)),
            median_in_plane=float(np.median(self.in_plane)),
            median_shift=None if self.shift is None else float(np.median(self.shift)),
        )


def mean_rotation(rotations: Float[np.ndarray, "n 3 3"]) -> Float[np.ndarray, "3 3"]:
    """Find the rotation nearest to all of them in summed squared Frobenius distance."""
    u, _, vt = np.linalg.svd(rotations.mean(axis=0))
    return u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt


def pose_errors(
    estimate: Float[np.ndarray, "n 3 3"],
    truth: Float[np.ndarray, "n 3 3"],
    shift_estimate: Float[np.ndarray, "n 2"] | None = None,
    shift_truth: Float[np.ndarray, "n 2"] | None = None,
    symmetry: str | Float[np.ndarray, "g 3 3"] = "C1",
) -> PoseErrors:
    """Compare estimated with true poses after global alignment, both hands tried.

    **Arguments:** rotations `x_image = R x_volume`; shifts in Å. `symmetry`: the point group of
    the true volume, by name (axes as `point_group` puts them) or as its rotations.

    **Returns:** errors image by image. The alignment is that which the densest crowd of images
    agrees on, so that even a majority of lost ones does not spoil the rest; shifts are compared
    after the best common 3-D origin of that crowd.

    **Source:** trial alignments by single images as in CryoFIRE and CryoBench, scored by inliers
    and polished by a chordal mean.
    """
    if len(estimate) == 0:
        raise ValueError("no poses to compare")
    estimate, truth = estimate.astype(np.float64), truth.astype(np.float64)
    group = point_group(symmetry) if isinstance(symmetry, str) else symmetry.astype(np.float64)
    straight = _global_rotation(estimate, truth, group)
    flipped = _global_rotation(mirror_rotations(estimate), truth, group)
    is_mirrored = flipped[1] > straight[1]
    rotation = (flipped if is_mirrored else straight)[0]
    aligned = (mirror_rotations(estimate) if is_mirrored else estimate) @ rotation
    copy = np.argmin(_distances(np.swapaxes(truth, -1, -2) @ aligned, group), axis=1)
    if len(group) > 1:
        # Which copy is called the first is free: let it be the one that most images sit in.
        favourite = group[np.bincount(copy, minlength=len(group)).argmax()]
        rotation, aligned = rotation @ favourite.T, aligned @ favourite.T
        copy = np.argmin(_distances(np.swapaxes(truth, -1, -2) @ aligned, group), axis=1)
    matched = truth @ group[copy]
    angle = geodesic_distance(aligned, matched)
    out_of_plane, in_plane = swing_and_twist(aligned @ np.swapaxes(matched, -1, -2))
    origin, error = np.zeros(3), None
    if shift_estimate is not None and shift_truth is not None:
        offset = shift_estimate.astype(np.float64) - shift_truth
        origin = _common_origin(matched, offset, angle <= _inlier_radius(angle))
        error = np.linalg.norm(offset - matched[:, :2, :] @ origin, axis=-1)
    return PoseErrors(
        angle, out_of_plane, in_plane, error, copy, bool(is_mirrored), rotation, origin
    )


def swing_and_twist(
    rotation: Float[np.ndarray, "n 3 3"],
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Split rotations into how far they tip the z axis and the turn about it that is left.

    **Returns:** both in degrees, 0 to 180.
    """
    swing = np.arctan2(np.hypot(rotation[:, 0, 2], rotation[:, 1, 2]), rotation[:, 2, 2])
    twist = np.arctan2(rotation[:, 1, 0] - rotation[:, 0, 1], rotation[:, 0, 0] + rotation[:, 1, 1])
    return np.rad2deg(swing), np.abs(np.rad2deg(twist))


def _distances(
    rotations: Float[np.ndarray, "n 3 3"], targets: Float[np.ndarray, "m 3 3"]
) -> Float[np.ndarray, "n m"]:
    """Measure all angles between two sets, in degrees; to about 1e-6 only, from the cosine."""
    cosine = (rotations.reshape(-1, 9) @ targets.reshape(-1, 9).T - 1) / 2
    return np.rad2deg(np.arccos(np.clip(cosine, -1, 1)))


def _global_rotation(
    estimate: Float[np.ndarray, "n 3 3"],
    truth: Float[np.ndarray, "n 3 3"],
    group: Float[np.ndarray, "g 3 3"],
) -> tuple[Float[np.ndarray, "3 3"], float]:
    """Find the `G` with `R_estimate G ≈ R_truth S` for most images; give their share too."""
    relative = np.swapaxes(estimate, -1, -2) @ truth
    order = np.random.default_rng(0).permutation(len(relative))
    candidates, judges = relative[order[:_CANDIDATES]], relative[order[:_JUDGES]]
    scores = [_agreement(candidate, judges, group) for candidate in candidates]
    best = candidates[int(np.argmax(scores))]
    radius = _REACH
    for _ in range(20):
        nearest = np.argmin(_distances(relative, _copies(best, group)), axis=1)
        mine = relative @ group[nearest]
        angle = geodesic_distance(mine, best[None])
        polished = mean_rotation(mine[angle <= radius])
        radius = _inlier_radius(geodesic_distance(mine, polished[None]))
        moved = geodesic_distance(polished[None], best[None])[0]
        best = polished
        if moved < 1e-9:
            break
    return best, _agreement(best, relative, group)


def _copies(
    rotation: Float[np.ndarray, "3 3"], group: Float[np.ndarray, "g 3 3"]
) -> Float[np.ndarray, "g 3 3"]:
    """Return `G Sᵀ`: an image near one of them says `G` of itself."""
    return rotation @ np.swapaxes(group, -1, -2)


def _agreement(
    candidate: Float[np.ndarray, "3 3"],
    relative: Float[np.ndarray, "n 3 3"],
    group: Float[np.ndarray, "g 3 3"],
) -> float:
    """Return the share of images near a candidate, near ones counting most."""
    angle = _distances(relative, _copies(candidate, group)).min(axis=1)
    return float(np.mean(np.exp(-0.5 * (angle / _KERNEL) ** 2)))


def _inlier_radius(angle: Float[np.ndarray, " n"]) -> float:
    """Return three medians of the errors within reach: all of the good ones, few of the others."""
    near = angle[angle <= _REACH]
    # Errors below rounding would otherwise leave a set out at random.
    return min(_REACH, 3 * float(np.median(near)) + 1e-3) if len(near) else _REACH


def _common_origin(
    rotation: Float[np.ndarray, "n 3 3"],
    offset: Float[np.ndarray, "n 2"],
    good: Bool[np.ndarray, " n"],
) -> Float[np.ndarray, " 3"]:
    """Fit the 3-D origin that explains most offsets, images with lost shifts left out."""
    origin = np.zeros(3)
    for _ in range(3):
        if not good.any():
            break
        design = rotation[good, :2, :].reshape(-1, 3)
        origin = np.linalg.lstsq(design, offset[good].reshape(-1), rcond=None)[0]
        error = np.linalg.norm(offset - rotation[:, :2, :] @ origin, axis=-1)
        good = good & (error <= 3 * np.median(error[good]) + 1e-9)
    return origin

"""How to look at a series of maps: one contour level, direction and frame for all of them."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from vitreous.geometry.rotations import euler_to_matrix


@dataclasses.dataclass(frozen=True)
class View:
    """A camera for maps of any box that share a field of view.

    `level`: contour. `rotation`: `x_image = R x_volume`. `centre`: the point `(x, y, z)` in the
    middle of the picture, and `width`: what the picture spans, both as fractions of the box from
    its centre, so that a downsampled map keeps its place.
    """

    level: float
    rotation: Float[np.ndarray, "3 3"]
    centre: Float[np.ndarray, " 3"]
    width: float = 1.0

    def turned(self, degrees: float) -> "View":
        """Turn the object about the vertical axis of the picture."""
        angles = np.array([90.0, degrees, -90.0])
        return dataclasses.replace(self, rotation=euler_to_matrix(angles) @ self.rotation)


def surface_level(volumes: Sequence[Float[np.ndarray, "n n n"]]) -> float:
    """Choose one contour level for a series of maps, so that its pictures compare.

    Between the solvent and the molecule: 4.5 deviations (robust) of the voxels outside the
    inscribed sphere, and at least 0.3 of the 99.9th percentile inside it, each averaged over
    the series.
    """
    n = len(volumes[0])
    outside = np.sum((np.indices((n, n, n)) - n // 2) ** 2, axis=0) > (0.48 * n) ** 2
    levels = []
    for volume in volumes:
        solvent = np.median(volume[outside])
        spread = 1.4826 * np.median(np.abs(volume[outside] - solvent))
        top = np.percentile(volume[~outside], 99.9)
        levels.append(min(max(0.3 * top, solvent + 4.5 * spread), 0.7 * top))
    return float(np.mean(levels))


def full_box(level: float) -> View:
    """Look along the beam at the whole box."""
    return View(level, np.eye(3), np.zeros(3))


def choose_view(volumes: Sequence[Float[np.ndarray, "n n n"]], level: float | None = None) -> View:
    """Find a view that shows a series of maps, and how they differ, at its largest.

    Of 90 directions the one in which the silhouettes change most along the series; for maps that
    do not differ, the one with the largest silhouette. The longest direction stands upright, and
    all that any map shows above the level is framed.
    """
    level = surface_level(volumes) if level is None else level
    n = len(volumes[0])
    clouds = [(np.argwhere(volume > level)[:, ::-1] - n // 2) / n for volume in volumes]
    clouds = [cloud for cloud in clouds if len(cloud)]
    if not clouds or max(len(cloud) for cloud in clouds) < 4:
        return full_box(level)
    # A few thousand points and silhouettes of about three voxels tell the directions apart.
    thin = [cloud[:: max(1, len(cloud) // 2000)] for cloud in clouds]
    everything = np.concatenate(thin)
    middle = everything.mean(axis=0)
    bin_width = max(3 / n, float(np.max(np.ptp(everything, axis=0))) / 24)
    best = max(
        (_upright(everything - middle, direction) for direction in _half_sphere(90)),
        key=lambda r: _visible_change([(t - middle) @ r[:2].T for t in thin], bin_width),
    )
    seen = np.concatenate(clouds) @ best.T
    low, high = np.percentile(seen, 0.1, axis=0), np.percentile(seen, 99.9, axis=0)
    width = 1.12 * float(np.max((high - low)[:2])) + 2 / n
    return View(level, best, best.T @ ((low + high) / 2), min(width, 1.5))


def _half_sphere(count: int) -> Float[np.ndarray, "count 3"]:
    """Spread directions evenly (Fibonacci spiral); the other half shows the same silhouettes."""
    i = np.arange(count)
    z = (i + 0.5) / count
    angle = np.pi * (1 + 5**0.5) * i
    r = np.sqrt(1 - z * z)
    return np.stack([r * np.cos(angle), r * np.sin(angle), z], axis=-1)


def _upright(
    points: Float[np.ndarray, "p 3"], direction: Float[np.ndarray, " 3"]
) -> Float[np.ndarray, "3 3"]:
    """Look along `direction` with the longest extent of the points upright, heavy end down."""
    flat = points - np.outer(points @ direction, direction)
    down = np.linalg.eigh(flat.T @ flat)[1][:, -1]
    down = down - direction * (down @ direction)
    down = down / np.linalg.norm(down)
    if np.sum((points @ down) ** 3) > 0:
        down = -down
    return np.stack([np.cross(down, direction), down, direction])


def _visible_change(seen: list[np.ndarray], bin_width: float) -> float:
    """Add up, over the picture, how silhouettes vary along a series; then how large they are."""
    cells = [np.unique(np.rint(s / bin_width).astype(np.int64) @ (1, 4096)) for s in seen]
    _, count = np.unique(np.concatenate(cells), return_counts=True)
    share = count / len(cells)
    return float(np.sum(share * (1 - share)) + 1e-3 * np.sum(share))

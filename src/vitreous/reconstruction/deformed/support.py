"""Where a molecule can move: a list of voxels and how much each of them takes part.

Only these voxels are gathered; everywhere else a map is that of plain backprojection. At a soft
edge the two are blended.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import KDTree

from vitreous.geometry.edges import falling_edge
from vitreous.geometry.fourier import coordinates
from vitreous.imaging.fourier_grid import inscribed_sphere

# Voxels that take part less than this are left out.
_LEAST = 1e-3


class Support(NamedTuple):
    """List the voxels that may move.

    **Fields:** `index`: flat places in the volume `(z, y, x)`. `points`: Å from the box centre,
    `(x, y, z)`. `weight`: 1 inside, falling to 0 at a soft edge. `box` and `voxel_size` (Å).
    """

    index: Int[np.ndarray, " m"]  # type: ignore[assignment]
    points: Float[np.ndarray, "m 3"]
    weight: Float[np.ndarray, " m"]
    box: int
    voxel_size: float

    def volume(self, values: Float[np.ndarray, "*g m"]) -> Float[np.ndarray, "*g n n n"]:
        """Lay values of the voxels into volumes that are 0 elsewhere."""
        lead = values.shape[:-1]
        flat = np.zeros((*lead, self.box**3), np.float32)
        flat[..., self.index] = values
        return flat.reshape(*lead, self.box, self.box, self.box)

    def only(self, rows: np.ndarray) -> "Support":
        """Keep some of the voxels."""
        return self._replace(
            index=self.index[rows], points=self.points[rows], weight=self.weight[rows]
        )


def support_of(weight: Float[np.ndarray, "n n n"], voxel_size: float) -> Support:
    """List the voxels of a mask that lie in the inscribed sphere, which every image shows."""
    box = len(weight)
    inside = (weight >= _LEAST) & inscribed_sphere(box)
    index = np.flatnonzero(inside)
    points = coordinates(box, 3).reshape(-1, 3)[index] * np.float32(voxel_size)
    shares = np.clip(weight.reshape(-1)[index], 0, 1)
    return Support(
        index.astype(np.int32), points, shares.astype(np.float32), box, float(voxel_size)
    )


def support_near(
    points: Float[np.ndarray, "g 3"],
    box: int,
    voxel_size: float,
    reach: float,
    soft_edge: float,
    mask: Float[np.ndarray, "n n n"] | None = None,
) -> Support:
    """List the voxels near the points of a model.

    **Arguments:** `points`, `reach`, `soft_edge`: Å; voxels within reach of a point take part in
    full. `mask`: what else the weights are multiplied with.
    """
    places = coordinates(box, 3).reshape(-1, 3) * np.float32(voxel_size)
    farthest = reach + soft_edge
    distance, _ = KDTree(np.asarray(points)).query(places, distance_upper_bound=farthest)
    weight = falling_edge(np.minimum(distance, farthest + 1) - reach, soft_edge)
    weight = np.where(distance <= farthest, weight, 0).reshape(box, box, box).astype(np.float32)
    return support_of(weight if mask is None else weight * mask, voxel_size)

"""Soft masks: a sphere, or a map thresholded, grown and given a cosine edge.

Distances are exact Euclidean ones, in Å or in voxels as stated; masks lie in [0, 1].
"""

import numpy as np
from jaxtyping import Float

from vitreous.geometry.edges import falling_edge


def spherical_mask(box: int, radius: float, soft_edge: float = 0.0) -> Float[np.ndarray, "n n n"]:
    """Make a ball about the box centre.

    **Arguments:** `radius`: voxels within it are 1. `soft_edge`: width over which the mask falls
    to 0 outside the radius. Both in voxels.

    **Returns:** float32 `(z, y, x)`.
    """
    square = (np.arange(box) - box // 2).astype(np.float64) ** 2
    distance = np.sqrt(square[:, None, None] + square[None, :, None] + square[None, None, :])
    return falling_edge(distance - radius, soft_edge).astype(np.float32)


def automatic_threshold(volume: Float[np.ndarray, "n n n"]) -> float:
    """Choose a density threshold: half of the 99.99th percentile, blind to a few hot voxels."""
    return float(np.percentile(volume, 99.99) / 2)


def mask_from_map(
    volume: Float[np.ndarray, "n n n"],
    voxel_size: float,
    threshold: float | None = None,
    dilate: float = 25.0,
    soft_edge: float = 15.0,
) -> Float[np.ndarray, "n n n"]:
    """Make a mask that follows a map.

    **Arguments:** `voxel_size` in Å. `threshold`: density that belongs to the particle, by
    default `automatic_threshold`. `dilate`: how far the mask reaches beyond it (Å). `soft_edge`:
    width of the cosine edge beyond that (Å).

    **Returns:** float32, 1 on the grown region; all 0 where nothing reaches the threshold.
    """
    level = automatic_threshold(volume) if threshold is None else threshold
    core = volume >= level
    if not core.any():
        return np.zeros(volume.shape, np.float32)
    from scipy import ndimage  # a quarter of a second to import, and needed by few

    # One distance map does both steps: growing by a ball, then the edge around it.
    distance = ndimage.distance_transform_edt(~core, sampling=voxel_size)
    return falling_edge(distance - dilate, soft_edge).astype(np.float32)

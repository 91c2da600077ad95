"""Principal components of many volumes, inside a mask that holds whatever any of them shows.

Distances between volumes here are those of their masked densities: what the eye would compare,
whatever the latent space does to them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float32

from vitreous.maps import read_map
from vitreous.reconstruction.masks import automatic_threshold, mask_from_map

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class VolumeSpace:
    """Hold the principal components of volumes.

    `mask`: weights, 0 outside. `mean` and `axes` (rows, orthonormal): over the voxels of the mask.
    `variance` along each axis, largest first; `total`: of all of them, also those left out.
    """

    mask: Float32[np.ndarray, "n n n"]
    mean: Float32[np.ndarray, " v"]
    axes: Float32[np.ndarray, "c v"]
    variance: Float[np.ndarray, " c"]
    total: float

    @property
    def inside(self) -> Bool[np.ndarray, "n n n"]:
        """The voxels that count."""
        return self.mask > 0

    def rows(self, volumes: Float[np.ndarray, "m n n n"]) -> Float32[np.ndarray, "m v"]:
        """Cut volumes to the mask; negative density is solvent and counts as 0."""
        return masked(volumes, self.mask)

    def transform(self, volumes: Float[np.ndarray, "m n n n"]) -> Float32[np.ndarray, "m c"]:
        """Express volumes by their components."""
        return (self.rows(volumes) - self.mean) @ self.axes.T

    def inverse(self, scores: Float[np.ndarray, "m c"]) -> Float32[np.ndarray, "m n n n"]:
        """Return to volumes, 0 outside the mask."""
        volumes = np.zeros((len(scores), *self.mask.shape), np.float32)
        volumes[:, self.inside] = scores.astype(np.float32) @ self.axes + self.mean
        return volumes


def masked(
    volumes: Float[np.ndarray, "m n n n"], mask: Float32[np.ndarray, "n n n"]
) -> Float32[np.ndarray, "m v"]:
    """Cut volumes to the voxels of a mask, weighted by it, negative density set to 0."""
    inside = mask > 0
    return np.maximum(volumes[:, inside], 0).astype(np.float32) * mask[inside]


def union_mask(
    highest: Float[np.ndarray, "n n n"],
    thresholds: Sequence[float],
    voxel_size: float,
    threshold: float | None = None,
    dilate: float = 5.0,
    soft_edge: float = 0.0,
) -> Float32[np.ndarray, "n n n"]:
    """Make the mask of all that any volume shows above the mean of their thresholds.

    **Arguments:** `highest`: the largest value of each voxel over the volumes. `thresholds`: the
    automatic threshold of each. `dilate`, `soft_edge`: Å.
    """
    level = float(np.mean(thresholds)) if threshold is None else threshold
    return mask_from_map(highest, voxel_size, level, dilate, soft_edge)


def survey(
    files: Sequence[Path],
) -> tuple[Float32[np.ndarray, "n n n"], list[float], float]:
    """Look at every map once.

    **Returns:** the largest value of each voxel, each map's threshold, and the voxel size (Å).
    """
    highest, thresholds, size = np.zeros(0), [], 0.0
    for file in files:
        source = read_map(file)
        highest = np.maximum(highest, source.data) if highest.size else source.data.copy()
        thresholds.append(automatic_threshold(source.data))
        size = source.voxel_size
    return highest, thresholds, size


def read_rows(
    files: Sequence[Path], mask: Float32[np.ndarray, "n n n"]
) -> Float32[np.ndarray, "m v"]:
    """Read maps cut to a mask; see `masked`."""
    rows = np.empty((len(files), int(np.count_nonzero(mask))), np.float32)
    for row, file in zip(rows, files, strict=True):
        row[:] = masked(read_map(file).data[None], mask)[0]
    return rows


def fit_volume_space(
    rows: Float32[np.ndarray, "m v"], mask: Float32[np.ndarray, "n n n"], components: int = 20
) -> tuple[VolumeSpace, Float[np.ndarray, "m c"], Float[np.ndarray, "m m"]]:
    """Find principal components through the products of the volumes with each other.

    The sign of each axis is fixed by a rule: its entry of largest size is positive.

    **Returns:** the space, the scores of the volumes, and the distances between them (of the
    whole densities, not of the components).
    """
    mean = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred = rows - mean
    gram = (centred @ centred.T).astype(np.float64)
    values, vectors = np.linalg.eigh(gram)
    count = min(components, len(rows) - 1)
    values, vectors = values[::-1][:count], vectors[:, ::-1][:, :count]
    # Directions of rounding alone are no axes.
    kept = values > 1e-6 * max(float(values[0]), 1e-30)
    values, vectors = values[kept], vectors[:, kept]
    axes = (vectors.T.astype(np.float32) @ centred) / np.sqrt(values)[:, None].astype(np.float32)
    largest = np.argmax(np.abs(axes), axis=1)
    signs = np.sign(axes[np.arange(len(axes)), largest])
    axes = axes * signs[:, None]
    scores = vectors * np.sqrt(values) * signs
    divisor = max(len(rows) - 1, 1)
    square = np.diag(gram)
    distance = np.sqrt(np.maximum(square[:, None] + square[None] - 2 * gram, 0))
    np.fill_diagonal(distance, 0)
    space = VolumeSpace(mask, mean, axes, values / divisor, float(square.sum() / divisor))
    return space, scores, distance

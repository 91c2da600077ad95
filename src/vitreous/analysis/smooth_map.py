"""Learn a smooth map from one space to another from examples: kernel ridge regression, with a test.

Radial functions about landmarks plus a straight line; width and ridge are those that predict
examples left out best. A fit takes seconds, has one answer, and says how good it is.
"""

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from jaxtyping import Float
from scipy.spatial.distance import cdist

# Widths, in units of the median distance between landmarks, and ridges that are tried.
_WIDTHS = (0.25, 0.5, 1.0, 2.0)
_RIDGES = (1e-6, 1e-4, 1e-2, 1.0)


@dataclass(frozen=True)
class SmoothMap:
    """Predict outputs at new inputs. `r2`: of each output on examples that were left out."""

    centre: Float[np.ndarray, " d"]
    scale: float
    landmarks: Float[np.ndarray, "k d"]
    width: float
    weights: Float[np.ndarray, "f c"]
    r2: Float[np.ndarray, " c"]

    def __call__(self, x: Float[np.ndarray, "n d"], batch: int = 8192) -> Float[np.ndarray, "n c"]:
        """Predict, a batch of inputs at a time."""
        parts = []
        for start in range(0, len(x), batch):
            scaled = (x[start : start + batch] - self.centre) / self.scale
            parts.append(_features(scaled, self.landmarks, self.width) @ self.weights)
        return np.concatenate(parts) if parts else np.zeros((0, self.weights.shape[1]))


def fit_smooth_map(
    x: Float[np.ndarray, "n d"],
    y: Float[np.ndarray, "n c"],
    landmarks: int = 1000,
    seed: int = 0,
    folds: int = 4,
) -> SmoothMap:
    """Fit a map to examples.

    **Arguments:** `landmarks`: at most so many examples carry a radial function. `folds`: parts
    of the examples that are left out in turn, to choose width and ridge and to measure `r2`; the
    map returned is fitted to all.
    """
    x, y = x.astype(np.float64), y.astype(np.float64)
    # One scale for all coordinates: those that hardly vary hardly count.
    centre, scale = x.mean(axis=0), max(float(x.std(axis=0).max()), 1e-12)
    scaled = (x - centre) / scale
    order = np.random.default_rng(seed).permutation(len(x))
    marks = scaled[order[:landmarks]]
    typical = float(np.median(cdist(marks[:500], marks[:500]))) or 1.0
    spread = np.maximum(np.sum((y - y.mean(axis=0)) ** 2, axis=0), 1e-30)
    best, width, ridge = np.full(y.shape[1], np.inf), typical, np.full(y.shape[1], _RIDGES[0])
    for tried in (w * typical for w in _WIDTHS):
        lost = _left_out(_features(scaled, marks, tried), y, np.array_split(order, folds)) / spread
        # One width for all outputs, and a ridge for each: some are smooth, some are noise.
        if lost.min(axis=0).sum() < best.sum():
            best, width, ridge = lost.min(axis=0), tried, np.array(_RIDGES)[lost.argmin(axis=0)]
    design = _features(scaled, marks, width)
    values, vectors = scipy.linalg.eigh(design.T @ design)
    projected = vectors.T @ (design.T @ y)
    weights = vectors @ (projected / (values[:, None] + ridge))
    return SmoothMap(centre, scale, marks, width, weights, 1 - best)


def _left_out(design: np.ndarray, y: np.ndarray, parts: list[np.ndarray]) -> np.ndarray:
    """Sum the squared errors on examples left out: for each ridge (rows) and output."""
    gram, moment = design.T @ design, design.T @ y
    lost = np.zeros((len(_RIDGES), y.shape[1]))
    for part in parts:
        own, truth = design[part], y[part]
        values, vectors = scipy.linalg.eigh(gram - own.T @ own)
        projected = vectors.T @ (moment - own.T @ truth)
        rotated = own @ vectors
        for k, ridge in enumerate(_RIDGES):
            predicted = rotated @ (projected / (np.maximum(values, 0)[:, None] + ridge))
            lost[k] += np.sum((predicted - truth) ** 2, axis=0)
    return lost


def _features(x: np.ndarray, landmarks: np.ndarray, width: float) -> np.ndarray:
    radial = np.exp(-0.5 * cdist(x, landmarks, "sqeuclidean") / width**2)
    return np.concatenate([radial, x, np.ones((len(x), 1))], axis=1)

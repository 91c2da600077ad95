"""How densely particles lie on a line or a plane, read off a smoothed histogram."""

import numpy as np
import scipy.ndimage
from jaxtyping import Float, Float32

_BINS = 256


def log_density(points: Float[np.ndarray, "n k"]) -> Float32[np.ndarray, " n"]:
    """Return the logarithm of the density at each point, 0 where it is greatest.

    Its negative is a free energy in kT, if the particles were caught in equilibrium. Scott's rule
    sets the width of the smoothing.

    **Arguments:** `points`: `(n, 1)` or `(n, 2)`.
    """
    points = np.asarray(points, np.float64)
    n, k = points.shape
    low, high = points.min(axis=0), points.max(axis=0)
    span = np.where(high > low, high - low, 1.0)
    place = np.clip((points - low) / span * (_BINS - 1), 0, _BINS - 1)
    edges = [np.arange(_BINS + 1) - 0.5] * k
    counts = np.histogramdd(place, bins=edges)[0]
    width = np.maximum(place.std(axis=0) * n ** (-1 / (k + 4)), 0.7)
    smooth = scipy.ndimage.gaussian_filter(counts, tuple(width), mode="constant")
    found = scipy.ndimage.map_coordinates(smooth, place.T, order=1)
    # A lone particle still weighs what one count smoothed out does.
    floor = 0.5 / np.prod(np.sqrt(2 * np.pi) * width)
    return np.log(np.maximum(found, floor) / max(smooth.max(), floor)).astype(np.float32)

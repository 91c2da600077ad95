"""Which points of a plane lie within a polygon drawn around them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from vitreous.errors import InputError


def inside_polygon(
    x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], polygon: Sequence[Any]
) -> Bool[np.ndarray, " n"]:
    """Mark the points inside a closed polygon; where it crosses itself, by the even-odd rule.

    The points are sorted by y, so that each side looks only at those beside it: a million points
    and a hand-drawn polygon take a fraction of a second. NaN is never inside.

    **Arguments:** `polygon`: corners `(x, y)`, three or more.

    **Raises:** `InputError` if it has fewer, or corners that are no numbers.
    """
    try:
        corners = np.asarray(polygon, np.float64)
    except (TypeError, ValueError):
        corners = np.zeros(0)
    if corners.ndim != 2 or corners.shape[1:] != (2,) or len(corners) < 3:
        raise InputError("a lasso needs three corners (x, y) or more")
    if not np.isfinite(corners).all():
        raise InputError("a lasso has a corner that is no number")
    (left, bottom), (right, top) = corners.min(axis=0), corners.max(axis=0)
    near = np.flatnonzero((x >= left) & (x <= right) & (y >= bottom) & (y <= top))
    near = near[np.argsort(y[near])]
    across, up = x[near].astype(np.float64), y[near].astype(np.float64)
    odd = np.zeros(len(near), bool)
    for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y1 == y2:
            continue
        # Half-open: a corner that two sides share counts once.
        first, last = np.searchsorted(up, (min(y1, y2), max(y1, y2)))
        beside = slice(first, last)
        odd[beside] ^= across[beside] < x1 + (up[beside] - y1) * ((x2 - x1) / (y2 - y1))
    mask = np.zeros(len(x), bool)
    mask[near[odd]] = True
    return mask

"""Peaks of a score map: the largest first, none nearer to another than a distance."""

import numpy as np
from jaxtyping import Float, Int


def find_peaks(
    score: Float[np.ndarray, "h w"], threshold: float, distance: float
) -> Int[np.ndarray, "p 2"]:
    """List the pixels `(row, column)` of peaks above a threshold, the highest first.

    **Arguments:** `distance`: pixels; within it of a peak no lower one is listed.
    """
    rows, columns = np.nonzero(score > threshold)
    order = np.argsort(-score[rows, columns], kind="stable")
    is_taken = np.zeros(score.shape, bool)
    reach = max(0, int(np.ceil(distance)))
    offset = np.arange(-reach, reach + 1)
    disc = offset[:, None] ** 2 + offset[None] ** 2 <= distance**2
    found = []
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if is_taken[row, column]:
            continue
        found.append((row, column))
        top, left = max(row - reach, 0), max(column - reach, 0)
        window = is_taken[top : row + reach + 1, left : column + reach + 1]
        first, second = top - row + reach, left - column + reach
        window |= disc[first : first + window.shape[0], second : second + window.shape[1]]
    return np.array(found, np.int64).reshape(-1, 2)


def refine_peaks(
    score: Float[np.ndarray, "h w"], peaks: Int[np.ndarray, "p 2"]
) -> Float[np.ndarray, "p 2"]:
    """Find each peak's place between pixels, `(row, column)`, by a parabola along each axis."""
    places = peaks.astype(np.float64)
    for axis in range(2):
        step = np.eye(2, dtype=np.int64)[axis]
        inside = (peaks[:, axis] > 0) & (peaks[:, axis] < score.shape[axis] - 1)
        at = peaks[inside]
        before, here, after = (
            score[tuple((at + k * step).T)].astype(np.float64) for k in (-1, 0, 1)
        )
        bend = before - 2 * here + after
        move = np.where(bend < 0, 0.5 * (before - after) / np.where(bend < 0, bend, 1), 0)
        places[inside, axis] += np.clip(move, -0.5, 0.5)
    return places

"""A triangle rasteriser in NumPy: meshes into depth, normal and attribute images.

Orthographic; column = x, row = y, and smaller depth is nearer, so `x, y, depth` is right-handed.
"""

import numpy as np
from jaxtyping import Float, Int


def rasterise(
    corners: Float[np.ndarray, "t 3 3"],
    attributes: Float[np.ndarray, "t 3 a"],
    size: int,
) -> tuple[Float[np.ndarray, "size size"], Float[np.ndarray, "size size a"]]:
    """Draw triangles into a depth image and interpolate attributes over the nearest ones.

    **Arguments:** `corners`: `(x, y, depth)` of each triangle's corners, in pixels; pixel
    `(row, column)` is the point `(x, y) = (column, row)`. `attributes`: values at the corners.

    **Returns:** depth, `inf` where nothing is drawn, and attributes, 0 there.
    """
    pixel, depth, triangle, weights = _covered(corners, size)
    # Nearest first within each pixel, then keep each pixel's first entry.
    order = np.lexsort((depth, pixel))
    pixel, first = np.unique(pixel[order], return_index=True)
    nearest = order[first]
    flat_depth = np.full(size * size, np.inf, np.float32)
    flat_depth[pixel] = depth[nearest]
    flat = np.zeros((size * size, attributes.shape[-1]), np.float32)
    flat[pixel] = np.einsum("pc,pca->pa", weights[nearest], attributes[triangle[nearest]])
    return flat_depth.reshape(size, size), flat.reshape(size, size, -1)


def _covered(
    corners: Float[np.ndarray, "t 3 3"], size: int
) -> tuple[
    Int[np.ndarray, " p"],
    Float[np.ndarray, " p"],
    Int[np.ndarray, " p"],
    Float[np.ndarray, "p 3"],
]:
    """List every (pixel, depth, triangle, barycentric weights) that a triangle covers."""
    low = np.maximum(np.ceil(corners[:, :, :2].min(axis=1)), 0).astype(np.int64)
    high = np.minimum(np.floor(corners[:, :, :2].max(axis=1)), size - 1).astype(np.int64)
    span = np.max(high - low, axis=1) + 1
    span[np.any(high < low, axis=1)] = 0
    x, y = corners[..., 0], corners[..., 1]
    area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    span[np.abs(area) < 1e-9] = 0
    found = []
    # Triangles of like size share one small grid of candidate pixels.
    width, smaller = 1, 0
    while smaller < span.max(initial=0):
        chosen = np.flatnonzero((span > smaller) & (span <= width))
        for start in range(0, len(chosen), max(1, 2**21 // width**2)):
            part = chosen[start : start + max(1, 2**21 // width**2)]
            found.append(_inside(corners[part], area[part], low[part], width, part, size))
        smaller, width = width, 2 * width
    if not found:
        none = np.zeros(0, np.int64)
        return none, np.zeros(0, np.float32), none, np.zeros((0, 3), np.float32)
    pixel, depth, triangle, weights = (np.concatenate(f) for f in zip(*found, strict=True))
    return pixel, depth, triangle, weights


def _inside(corners, area, low, width, index, size):
    """Test a `width × width` grid of pixels from `low` on against each triangle."""
    step_x, step_y = (g.ravel() for g in np.meshgrid(np.arange(width), np.arange(width)))
    column = low[:, :1] + step_x
    row = low[:, 1:] + step_y
    ax, ay = corners[:, 0, 0, None], corners[:, 0, 1, None]
    bx, by = corners[:, 1, 0, None], corners[:, 1, 1, None]
    cx, cy = corners[:, 2, 0, None], corners[:, 2, 1, None]
    dx, dy = column - ax, row - ay
    v = (dx * (cy - ay) - (cx - ax) * dy) / area[:, None]
    w = ((bx - ax) * dy - dx * (by - ay)) / area[:, None]
    hit = (v >= 0) & (w >= 0) & (v + w <= 1) & (column < size) & (row < size)
    which, where = np.nonzero(hit)
    v, w = v[hit], w[hit]
    weights = np.stack([1 - v - w, v, w], axis=1).astype(np.float32)
    depth = np.sum(weights * corners[which, :, 2], axis=1).astype(np.float32)
    pixel = row[which, where] * size + column[which, where]
    return pixel, depth, index[which], weights

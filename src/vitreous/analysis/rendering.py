"""Shaded iso-surface of a map, without a display or ChimeraX.

The picture shows what a particle in the view's pose shows: columns run along image x, rows along
image y and the beam runs into the picture, so the hand is the true one.
"""

import numpy as np
import scipy.ndimage
from jaxtyping import Float, UInt8
from skimage.measure import marching_cubes

from vitreous.analysis.postprocess import fourier_crop
from vitreous.analysis.rasterise import rasterise
from vitreous.analysis.shading import Color, shade
from vitreous.analysis.view import View, choose_view

IVORY: Color = (0.93, 0.88, 0.78)
TEAL: Color = (0.00, 0.47, 0.49)
LARGEST_BOX = 160


def render_surface(
    volume: Float[np.ndarray, "n n n"],
    view: View | None = None,
    size: int = 256,
    tint: Float[np.ndarray, "m m m"] | None = None,
    color: Color = IVORY,
    accent: Color = TEAL,
) -> UInt8[np.ndarray, "size size 4"]:
    """Draw the iso-surface of a map, lit from the upper left, on a transparent ground.

    **Arguments:** `view`: level, pose and frame; `choose_view([volume])` if None. `size`: pixels
    a side. `tint`: values over the same field of view, 0 for `color` and 1 for `accent`, read at
    the surface. Maps larger than 160 voxels are Fourier-cropped first.

    **Returns:** RGBA. A map without surface at this level gives an empty picture.
    """
    volume = np.asarray(volume, np.float32)
    if len(volume) > LARGEST_BOX:
        volume = fourier_crop(volume, LARGEST_BOX)
    view = choose_view([volume]) if view is None else view
    box, fine = len(volume), 2 * size
    pixels = fine / (view.width * box)
    mesh = _surface(without_dust(volume, view.level), view.level, pixels)
    if mesh is None:
        return np.zeros((size, size, 4), np.uint8)
    vertices, faces, normals = mesh
    values = np.zeros((len(vertices), 1), np.float32)
    if tint is not None:
        place = (vertices - box // 2) * (len(tint) / box) + len(tint) // 2
        values[:, 0] = scipy.ndimage.map_coordinates(tint, place.T, order=1, mode="nearest")
    offset = vertices[:, ::-1] - box // 2 - view.centre * box
    points = offset @ view.rotation.T * pixels + (fine - 1) / 2
    normals = normals[:, ::-1] @ view.rotation.T
    corners = points[faces]
    front = _towards_viewer(corners, normals[faces])
    attributes = np.concatenate([normals, values], axis=1)[faces[front]].astype(np.float32)
    depth, buffer = rasterise(corners[front], attributes, fine)
    return shade(depth, buffer[..., :3], buffer[..., 3], pixels, color, accent)


def without_dust(
    volume: Float[np.ndarray, "n n n"], level: float, smallest: float = 0.02
) -> Float[np.ndarray, "n n n"]:
    """Sink connected blobs above `level` that are smaller than a share of the largest one."""
    labels, count = scipy.ndimage.label(volume > level)
    if count < 2:
        return volume
    sizes = np.bincount(labels.ravel())[1:]
    dust = np.concatenate([[False], sizes < smallest * sizes.max()])[labels]
    floor = np.float32(level - 0.1 * abs(level) - 1e-12)
    return np.where(scipy.ndimage.binary_dilation(dust), np.minimum(volume, floor), volume)


def _surface(
    volume: np.ndarray, level: float, pixels: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Mesh the part of the map that holds the surface, finely enough for the picture.

    Returns vertices `(z, y, x)` in voxels of the map, faces, outward normals.
    """
    above = volume > level
    if not above.any():
        return None
    spans = [np.flatnonzero(above.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    low = np.array([max(s[0] - 2, 0) for s in spans])
    high = np.array([s[-1] + 3 for s in spans])
    part = volume[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    # Triangles of more than about seven pixels show their edges.
    factor = 1 if part.size > 64**3 else int(np.clip(np.ceil(pixels / 7), 1, 3))
    if factor > 1:
        fine = [(s - 1) * factor + 1 for s in part.shape]
        part = scipy.ndimage.zoom(
            part, [f / s for f, s in zip(fine, part.shape, strict=True)], order=3, grid_mode=False
        )
    # A rim below the level closes the surface at the faces of the box.
    below = min(float(part.min()), level - 1e-3 * (float(part.max()) - level))
    part = np.pad(part, 1, constant_values=below)
    vertices, faces, normals, _ = marching_cubes(part, level, gradient_direction="descent")
    return (vertices - 1) / factor + low, faces, normals


def _towards_viewer(corners: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Choose the triangles whose outer side faces the viewer."""
    first, second = (corners[:, i, :2] - corners[:, 0, :2] for i in (1, 2))
    turn = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    facing = np.sum(normals[..., 2], axis=1)
    # Which sense of turning faces the viewer is the mesher's affair: let the normals tell.
    return turn * np.sum(np.where(facing < 0, turn, -turn)) > 0

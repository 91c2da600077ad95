"""Bring maps to the box and voxel size that is asked for."""

import logging

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from vitreous.geometry.resample import resample
from vitreous.geometry.shift import crop_centered
from vitreous.imaging.fourier_grid import inscribed_sphere
from vitreous.maps import Map

logger = logging.getLogger(__name__)


def sampling_of(one: Map, box: int | None, pixel_size: float | None) -> tuple[int, float]:
    """Fill in what is not asked for: both as in the map, or one from the other by its extent."""
    extent = len(one.data) * one.voxel_size
    if box is None and pixel_size is None:
        return len(one.data), one.voxel_size
    if box is None:
        assert pixel_size is not None
        return round(extent / pixel_size), pixel_size
    return box, extent / box if pixel_size is None else pixel_size


def fit_map(
    one: Map, box: int, pixel_size: float, name: str = "map", tolerance: float = 2e-4
) -> Float[np.ndarray, "n n n"]:
    """Resample a cubic map to a voxel size in Fourier space, and crop or pad it to a box.

    The map is padded until its extent is a whole number of new voxels, to within `tolerance`.
    Warns of density cut off and of detail the map does not have.
    """
    n, voxel = len(one.data), one.voxel_size
    if pixel_size < 0.99 * voxel:
        logger.warning(
            "%s: its voxels of %.4g Å hold no detail for pixels of %g Å", name, voxel, pixel_size
        )
    data = one.data
    if abs(voxel / pixel_size - 1) > tolerance:
        sides = np.arange(n, n + 65)
        wanted = sides * voxel / pixel_size
        error = np.abs(np.rint(wanted) / wanted - 1)
        best = int(np.argmax(error <= max(tolerance, error.min())))
        data = crop_centered(data, int(sides[best]), 3)
        data = np.asarray(resample(jnp.asarray(data), int(np.rint(wanted[best])), 3))
    fitted = crop_centered(data, box, 3)
    warn_of_loss(name, fitted, float(np.abs(data).sum(dtype=np.float64)), pixel_size)
    return fitted


def warn_of_loss(
    name: str, fitted: Float[np.ndarray, "n n n"], total: float, pixel_size: float
) -> None:
    """Compare the density inside the box's sphere, which images can show, with all of it."""
    box = len(fitted)
    inside = np.sum(np.abs(fitted) * inscribed_sphere(box), dtype=np.float64)
    if inside < 0.99 * total:
        logger.warning(
            "%s: %.1f %% of the density lies outside the sphere of %g Å across that fits the "
            "box; take a larger box (-D) or larger pixels (--apix)",
            *(name, 100 * (1 - inside / total), box * pixel_size),
        )

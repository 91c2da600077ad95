"""A landscape of maps as guide to a fit: where the molecule is whole, and how it moves at first.

Gaussians on the average of a large motion never find it: the average holds no arm to swing. Where
another fit's latents are given, or enough images allow a quick one, maps along the landscape are
followed instead (`landscape_start`).
"""

import logging
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from vitreous.errors import InputError
from vitreous.methods.flexible.config import FlexibleConfig
from vitreous.methods.flexible.starts.landscape_start import start_from_landscape
from vitreous.particles.loader import PreparedImages
from vitreous.reconstruction.kernel_regression import KernelRegression
from vitreous.reconstruction.masks import spherical_mask
from vitreous.training.registry import landscape_fitter
from vitreous.training.run import Run

logger = logging.getLogger(__name__)

# With fewer images maps along a landscape tell little; motion that the smear of the average hides
# is larger than so many resolutions.
_ENOUGH_IMAGES, _LARGE = 2000, 1.0
_RINGS, _LANDSCAPE_SIZE = 4, 8


class Guide(NamedTuple):
    """Hold a guide: `volume` to lay Gaussians on and `modes` of points, None to begin with the
    average at random; `latents` of all images."""

    volume: Float[np.ndarray, "n n n"] | None
    modes: Callable[[Float[np.ndarray, "m 3"]], Float[np.ndarray, "m k 3"]] | None
    latents: Float[np.ndarray, "n d"]


def landscape_guide(
    config: FlexibleConfig,
    data: PreparedImages,
    half: Int[np.ndarray, " n"],
    radius: float,
    resolution: float,
) -> Guide | None:
    """Look for a guide; None where there is none, or where the motion needs none.

    **Arguments:** `radius`: of the particle, `resolution`: of the band in use, Å.
    """
    given = None if config.initial_latents is None else _given_latents(config, len(data))
    if config.landscape is False:
        return None if given is None else Guide(None, None, _padded(_unit(given), config.zdim))
    if given is None:
        if config.landscape is None and len(data) < _ENOUGH_IMAGES:
            return None
        fitter = landscape_fitter("subspace")
        found = fitter(data, min(config.zdim, _LANDSCAPE_SIZE), 2 * radius)
        given = np.asarray(found.latents.mean)
    pixel_size = float(np.median(np.asarray(data.table.pixel_size)))
    mask = spherical_mask(data.box, radius / pixel_size, soft_edge=max(3.0, 0.05 * data.box))
    regression = KernelRegression(data, half, mask, rings=_RINGS)
    start = start_from_landscape(regression, given, config.zdim, seed=config.seed)
    rest = start.track.rest
    moved = np.sum((start.track.positions - rest.points[None]) ** 2, axis=-1)
    # The part that moves most counts, however small it is.
    motion = float(np.sqrt(np.percentile(moved.mean(axis=0), 90)))
    logger.info("motion along the landscape: %.1f Å, resolution %.1f Å", motion, resolution)
    if config.landscape is None and motion < _LARGE * resolution:
        return None
    return Guide(start.reference_map, start.modes, _padded(start.weights, config.zdim))


def _given_latents(config: FlexibleConfig, images: int) -> Float[np.ndarray, "n d"]:
    name = str(config.initial_latents)
    latents = np.asarray(Run.open(name).latents().mean)
    if len(latents) != images:
        raise InputError(
            f"--initial-latents {name}: latents of {len(latents)} particles, these are {images}"
        )
    return latents


def _unit(latents: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Bring latents to principal axes of variance 1, the largest first."""
    centred = latents - latents.mean(axis=0)
    left, _, _ = np.linalg.svd(centred, full_matrices=False)
    return (left * np.sqrt(len(left))).astype(np.float32)


def _padded(latents: Float[np.ndarray, "n k"], zdim: int) -> Float[np.ndarray, "n d"]:
    """Fill up with a little noise, or leave out the last, to as many dimensions as asked for."""
    n, k = latents.shape
    rest = 0.1 * np.random.default_rng(0).normal(size=(n, max(zdim - k, 0)))
    return np.concatenate([latents[:, :zdim], rest], axis=1).astype(np.float32)

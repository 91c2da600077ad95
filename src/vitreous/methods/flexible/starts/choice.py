"""Measure what a flexible fit starts from: Gaussians on a map, springs, band, noise."""

import logging

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from vitreous.errors import InputError
from vitreous.geometry.fourier import half_space
from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.geometry.shells import shell_index
from vitreous.imaging.volumes.fitting import fit_map
from vitreous.maps import read_map
from vitreous.methods.flexible.bodies.masks import read_body_masks
from vitreous.methods.flexible.bodies.rigid_bodies import plan_bodies
from vitreous.methods.flexible.config import FlexibleConfig
from vitreous.methods.flexible.elastic import neighbour_edges
from vitreous.methods.flexible.gaussian_model import GaussianModel
from vitreous.methods.flexible.masked import read_motion_mask
from vitreous.methods.flexible.start import Start
from vitreous.methods.flexible.starts.coarse_grain import beads_of_structure
from vitreous.methods.flexible.starts.guide import landscape_guide
from vitreous.methods.flexible.starts.seeding import (
    density_threshold,
    fit_to_map,
    gaussians_from_map,
)
from vitreous.particles.loader import PreparedImages
from vitreous.reconstruction.foundation import Foundation

logger = logging.getLogger(__name__)

# Gaussians lie this share of the resolution apart, unless their number is given; between bounds.
_APART, _FEWEST, _MOST = 0.5, 100, 8000
# The band reaches this many times as far as the consensus' halves agree, but no further than so
# many shells.
_BEYOND, _MOST_SHELLS = 1.5, 20
# Displacement of a unit weight at first, as a share of the radius.
_REACH = 0.15
# A map that agrees with the images' consensus less than this is of something else.
_LEAST_AGREEMENT = 0.3


def make_start(
    config: FlexibleConfig,
    data: PreparedImages,
    foundation: Foundation,
    half: Int[np.ndarray, " n"],
    group: Int[np.ndarray, " n"],
) -> Start:
    """Lay Gaussians and springs on the map to begin with.

    **Arguments:** `half`, `group`: half set and optics group of each image.

    **Raises:** `InputError` for a map that is missing, of another molecule, or too small.
    """
    pixel_size = float(np.median(np.asarray(data.table.pixel_size)))
    consensus = foundation.consensus
    assert consensus is not None
    shell = band_in_use(config, data.pixels, foundation)
    radius = foundation.radius * pixel_size
    guide = None
    if config.atomic_model is None and config.deformation_masks is None:
        guide = landscape_guide(config, data, half, radius, data.box * pixel_size / shell)
    if config.atomic_model is not None:
        gaussians, edges = _from_atoms(config.atomic_model, consensus, pixel_size)
    else:
        volume = None if guide is None else guide.volume
        gaussians = _from_map(config, consensus, volume, data.box / shell, pixel_size)
        edges = neighbour_edges(np.asarray(gaussians.positions))
    points = np.asarray(gaussians.positions)
    bodies = mask = modes = None
    if config.deformation_masks is not None:
        masks = read_body_masks(config.deformation_masks, data.box, pixel_size, consensus)
        bodies = plan_bodies(masks, pixel_size, density=consensus)
    if config.mask_file is not None:
        mask = read_motion_mask(config.mask_file, data.box, pixel_size, points)
    if guide is not None and guide.modes is not None and config.decoder == "factorised":
        modes = guide.modes(points).astype(np.float32)
    noise = np.repeat(foundation.noise[None, : shell + 1], int(group.max()) + 1, axis=0)
    logger.info("%d Gaussians, shells 1 to %d of %d", len(gaussians), shell, data.pixels.max_shell)
    return Start(
        gaussians,
        edges,
        noise,
        shell,
        radius,
        _REACH * radius,
        None if guide is None else guide.latents,
        bodies,
        mask,
        pixel_size,
        modes,
    )


def _from_map(
    config: FlexibleConfig,
    consensus: Float[np.ndarray, "n n n"],
    guide: Float[np.ndarray, "n n n"] | None,
    resolution: float,
    pixel_size: float,
) -> GaussianModel:
    """Lay Gaussians on the guide's map, the one that was given, or the consensus."""
    threshold, name, volume = config.initial_threshold, "the consensus of the images", consensus
    if config.initial_model is not None:
        name = config.initial_model
        volume, scale = _given_map(name, consensus, pixel_size)
        threshold = None if threshold is None else threshold * scale
    if guide is not None:
        name, volume = "the map along the landscape", guide
    count = config.gaussians or _fitting_count(volume, threshold, resolution, pixel_size)
    return gaussians_from_map(volume, pixel_size, count, threshold, config.seed, name)


def band_in_use(config: FlexibleConfig, pixels: FourierPixels, foundation: Foundation) -> int:
    """Choose the outermost shell: well beyond where the halves of the blurred average part.

    Motion shows at low resolution: no more than 20 shells, unless they are asked for.
    """
    if config.max_shell is not None:
        return int(np.clip(config.max_shell, 3, pixels.max_shell))
    assert foundation.fsc is not None
    lost = np.flatnonzero(foundation.fsc[1:] < 0.143)
    last = lost[0] + 1 if len(lost) else pixels.max_shell
    most = min(_MOST_SHELLS, pixels.max_shell)
    return int(np.clip(np.ceil(_BEYOND * last), min(8, most), most))


def _given_map(
    name: str, consensus: Float[np.ndarray, "n n n"], pixel_size: float
) -> tuple[Float[np.ndarray, "n n n"], float]:
    """Read a map, and scale it to the images by comparing with their consensus."""
    volume = fit_map(read_map(name), len(consensus), pixel_size, name)
    box = len(consensus)
    shell = shell_index(box, 3, half=True)
    inner = (shell >= 1) & (shell <= box // 4)
    ours, theirs = (np.asarray(half_space(jnp.asarray(x)))[inner] for x in (consensus, volume))
    cross = float(np.real(np.vdot(theirs, ours)))
    power = float(np.real(np.vdot(theirs, theirs)))
    agreement = cross / max(np.sqrt(power * float(np.real(np.vdot(ours, ours)))), 1e-30)
    if agreement < _LEAST_AGREEMENT:
        raise InputError(
            f"{name}: agrees with the map of the images by {agreement:.2f} only (correlation): "
            "another molecule, hand, frame or contrast than the poses are of"
        )
    return (volume * (cross / power)).astype(np.float32), cross / power


def _from_atoms(
    path: str, consensus: Float[np.ndarray, "n n n"], pixel_size: float
) -> tuple[GaussianModel, np.ndarray]:
    """Take beads of a structure, and scale them to the consensus."""
    beads = beads_of_structure(path)
    positions = beads.positions
    reach = np.abs(positions).max()
    if reach > 0.5 * len(consensus) * pixel_size:
        raise InputError(
            f"{path}: reaches {reach:.0f} Å from the origin, out of the box; move it to the map's "
            "centre"
        )
    share = beads.electrons / beads.electrons.sum() * float(np.maximum(consensus, 0).sum())
    start = GaussianModel.of(positions, share, np.full(len(positions), beads.width))
    fitted = fit_to_map(start, consensus, pixel_size)
    # The structure decides where beads are: only how much and how wide is fitted.
    kept = GaussianModel(start.positions, fitted.log_amplitude, fitted.log_width)
    return kept, beads.edges


def _fitting_count(
    volume: Float[np.ndarray, "n n n"],
    threshold: float | None,
    resolution: float,
    pixel_size: float,
) -> int:
    """Choose how many Gaussians tell what the band can: `resolution` in voxels."""
    level = density_threshold(volume) if threshold is None else threshold
    voxels = int((volume > level).sum())
    wanted = voxels / (_APART * resolution) ** 3
    return int(np.clip(wanted, min(_FEWEST, max(voxels, 1)), _MOST))

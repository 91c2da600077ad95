"""From a particle table to what EM starts with: prepared images, compiled passes, half maps."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import jax
import numpy as np

from vitreous.errors import InputError
from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.methods.subspace.config import SubspaceConfig
from vitreous.methods.subspace.em import compile_steps
from vitreous.methods.subspace.estimate import first_noise
from vitreous.methods.subspace.expectation import ContrastPrior
from vitreous.methods.subspace.ground import Ground, lay_ground
from vitreous.methods.subspace.model import Band
from vitreous.methods.subspace.passes import Passes
from vitreous.methods.subspace.resume import Keeper, read_ground
from vitreous.particles import ImageSource, ParticleTable
from vitreous.particles.loader import PreparedImages
from vitreous.particles.tilts import tilt_groups, weigh_tilts
from vitreous.reconstruction.half_sets import half_sets
from vitreous.training.inputs import DataOptions, prepared_images
from vitreous.training.run import Run

logger = logging.getLogger(__name__)


class Prepared(NamedTuple):
    """Hold images ready to be fitted, and what of the run's settings they decided."""

    passes: Passes
    ground: Ground
    contrast: str


def image_band(box: int, config: SubspaceConfig) -> Band:
    """Say which shells of images are fitted, and by how many components."""
    return Band(box, config.shell(box), config.components)


def image_passes(
    data: PreparedImages, config: SubspaceConfig, poll: Callable[[], None] | None = None
) -> Passes:
    """Say how images are passed over."""
    band = image_band(data.box, config)
    contrast = ContrastPrior.normal(config.contrast_spread) if config.contrast else ContrastPrior()
    groups = tilt_groups(data.table)
    return Passes(data, band, contrast, config.batch_size, groups, poll)


def sets_of(table: ParticleTable) -> tuple[np.ndarray, np.ndarray]:
    """Say which half set and which optics group each image belongs to."""
    half = half_sets(len(table), table.half_set, table.particle)
    return half, np.unique(table.optics_group, return_inverse=True)[1].astype(np.int32)


def prepare_fit(
    run: Run,
    table: ParticleTable,
    source: ImageSource,
    config: SubspaceConfig,
    data: DataOptions,
    keeper: Keeper,
) -> Prepared:
    """Read the images and lay the ground, or read back that of an interrupted run."""
    pixels = FourierPixels(source.box, (source.box - 1) // 2)
    stored = run.config.get("normalization") or data.normalization
    if table.particle is not None and config.refine_poses:
        raise InputError("--refine-poses: not for tilt series, whose images share a particle")
    table = weigh_tilts(table, config.dose_per_tilt, config.angle_per_tilt)
    half, groups = sets_of(table)

    count = int(groups.max()) + 1

    def read(contrast: str) -> Passes:
        images = prepared_images(table, source, data, pixels, contrast, stored)
        passes = image_passes(images, config, keeper.poll)
        passes.compile_ahead(count)
        return passes

    def prepare(contrast: str) -> Passes:
        """Read the images and compile the passes; meanwhile compile what lies between them."""
        with ThreadPoolExecutor(1) as worker:
            made = worker.submit(read, contrast)
            if (data.devices or len(jax.devices())) == 1:
                place = partial(jax.device_put, device=jax.devices()[0])
                compile_steps(image_band(source.box, config), len(table), count, place)
            return made.result()

    contrast = run.config.get("contrast", data.contrast)
    passes, ground = prepare(contrast), read_ground(run.path)
    if ground is not None:
        keeper.ground = ground
        return Prepared(passes, ground, contrast)
    noise = first_noise(groups, passes.band)
    ground = lay_ground(passes, half, noise, config.particle_diameter)
    if contrast == "auto" and ground.is_dark:
        logger.warning("the particles are dark: inverting them (as --uninvert-data does)")
        contrast = "dark"
        passes = prepare(contrast)
        ground = lay_ground(passes, half, noise, config.particle_diameter)
    run.update_config(
        normalization=[float(x) for x in passes.data.normalization],
        contrast=contrast,
        particle_radius=ground.radius,
    )
    return Prepared(passes, ground, contrast)

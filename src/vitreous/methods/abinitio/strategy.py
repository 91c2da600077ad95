"""Strategies: a search through all images, an encoder, or one after the other, and why."""

import logging
from collections.abc import Callable
from dataclasses import replace

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Int

from vitreous.errors import InputError
from vitreous.methods.abinitio.amortised.train import train_amortised
from vitreous.methods.abinitio.beginning import Beginning
from vitreous.methods.abinitio.config import AbinitioConfig
from vitreous.methods.abinitio.conformations import add_conformations
from vitreous.methods.abinitio.found import Found
from vitreous.methods.abinitio.held import pose_by_map
from vitreous.methods.abinitio.passes import Watch
from vitreous.methods.abinitio.search import SearchOptions, fits_inverted, refine_found, search
from vitreous.methods.abinitio.setting import Setting
from vitreous.particles import ImageSource, ParticleTable
from vitreous.particles.loader import PreparedImages
from vitreous.training.mesh import data_mesh
from vitreous.training.run import Run

logger = logging.getLogger(__name__)

# Told a phase's name, how much of it is done and how much there is.
Told = Callable[[str, int, int], None]
# File of the run that a search goes on from.
STORE = "search.npz"
# Of half the box, before the particle has been measured; and of the box, how far it may lie off.
_RADIUS_SHARE, _SHIFT_SHARE = 0.62, 0.1


def find_poses(
    data: PreparedImages,
    config: AbinitioConfig,
    run: Run,
    begin: Beginning | None = None,
    progress: Told | None = None,
    watch: Watch | None = None,
    may_invert: bool = True,
) -> Found:
    """Find poses by the strategy that is asked for; see `fit.train_abinitio`.

    **Arguments:** `begin`: what is known beforehand. `watch`, `may_invert`: see `search`.
    """
    begin = begin or Beginning()
    setting = surroundings(data, config, progress or (lambda phase, done, of: None))
    run.update_config(
        particle_radius=setting.radius, shift_reach=setting.reach, strategy=config.strategy
    )
    options = SearchOptions(config.restarts, config.passes, may_invert)
    if config.keep_map:
        return _by_map(setting, begin, may_invert)
    if begin.poses is not None and config.strategy != "amortized":
        logger.info("the run that is gone on from holds poses of these images: refining them")
        earlier = begin.found_for(data, setting.pixels.max_shell + 1)
        found = refine_found(setting, earlier, options, watch)
    elif config.strategy == "amortized":
        return _by_encoder(setting, options, config, run, begin, watch)
    elif config.strategy == "auto" and len(data) > config.search_images:
        found = _encoder_in_between(setting, options, config, run, begin, watch)
    else:
        if config.strategy == "auto":
            logger.info(
                "%d images: a search through all of them costs less than an encoder, which is "
                "skipped",
                len(data),
            )
        volume = begin.map_for(data)
        volumes = None if volume is None else volume[None]
        # Maps of conformations are divided from what a search began with, and pose all anew.
        options = replace(options, joint=config.zdim == 0)
        found = search(setting, options, volumes, run.path / STORE, watch)
    if config.zdim == 0:
        return found
    logger.info("the map of all images stands: finding conformations")
    landscape = setting.inverted() if found.is_dark else setting
    return add_conformations(landscape, found, config.zdim, watch)


def surroundings(data: PreparedImages, config: AbinitioConfig, progress: Told) -> Setting:
    """Say what all phases of a search share."""
    size = np.asarray(data.table.pixel_size)
    if np.ptp(size) > 0.01 * size.mean():
        raise InputError(
            f"{data.table.path}: pixel sizes from {size.min():g} to {size.max():g} Å; poses are "
            "searched on one grid: bring the images to one pixel size first"
        )
    pixel = float(np.median(size))
    radius = _RADIUS_SHARE * data.box / 2
    if config.particle_diameter is not None:
        radius = float(np.clip(config.particle_diameter / 2 / pixel, 3, 0.48 * data.box))
    reach = _SHIFT_SHARE * data.box
    if config.max_shift is not None:
        # Half a pixel off is as good as centred, and leaves room for a map that is not.
        reach = max(config.max_shift / pixel, 0.5)

    def report(phase: str, done: int, of: int, words: str) -> None:
        progress(phase, done, of)

    return Setting(data, radius, reach, 1, config.symmetry, config.batch_size, config.seed, report)


def _by_map(setting: Setting, begin: Beginning, may_invert: bool) -> Found:
    volume = begin.map_for(setting.data)
    assert volume is not None
    is_dark = may_invert and fits_inverted(setting, volume[None])
    if is_dark:
        logger.warning("the images fit the map when inverted: inverting them")
        setting = setting.inverted()
    return replace(pose_by_map(setting, volume), is_dark=is_dark)


def _by_encoder(
    setting: Setting,
    options: SearchOptions,
    config: AbinitioConfig,
    run: Run,
    begin: Beginning,
    watch: Watch | None,
) -> Found:
    volume = begin.map_for(setting.data)
    settings = replace(
        config.amortised, z_dim=config.zdim, seed=config.seed, symmetry=config.symmetry
    )
    first = None if volume is None else np.asarray(volume)
    shared = over_processes(setting.data)
    told = train_amortised(shared, settings, run, volume=first, earlier=begin.run)
    if settings.scheme == "gradient" or config.zdim:
        return told
    logger.info("%s; refining every image by itself", told.verdict)
    return refine_found(setting, told, options, watch)


def _encoder_in_between(
    setting: Setting,
    options: SearchOptions,
    config: AbinitioConfig,
    run: Run,
    begin: Beginning,
    watch: Watch | None,
) -> Found:
    """Search on a part of the images, train an encoder on what was found, refine what it says."""
    data = setting.data
    volume = begin.map_for(data)
    volumes = None if volume is None else volume[None]
    some = np.random.default_rng((config.seed, 9)).permutation(len(data))[: config.search_images]
    logger.info(
        "search: %d of %d images, as poses of all are too many to look at", len(some), len(data)
    )
    part = replace(setting, data=subset(data, np.sort(some)))
    first = search(part, options, volumes, run.path / STORE, watch)
    logger.info("encoder: %s; it learns poses of all from this map", first.verdict)
    if first.is_dark:
        setting = setting.inverted()
    settings = replace(config.amortised, z_dim=0, seed=config.seed, symmetry=config.symmetry)
    shared = over_processes(setting.data)
    told = train_amortised(shared, settings, run, logger.info, volume=first.volumes[0])
    logger.info("refinement: the encoder has proposed poses; every image goes on by itself")
    told = replace(told, history=[*first.history, *told.history])
    found = refine_found(setting, told, options, watch)
    return replace(found, is_dark=first.is_dark)


def subset(data: PreparedImages, rows: Int[np.ndarray, " m"]) -> PreparedImages:
    """Return some of the images, prepared as all are."""
    return _prepared_again(data, data.table.select(rows), data.mesh)


def over_processes(data: PreparedImages) -> PreparedImages:
    """Return images that each process holds whole, spread over the devices of all processes."""
    if jax.process_count() == 1:
        return data
    return _prepared_again(data, data.table, data_mesh())


def _prepared_again(
    data: PreparedImages, table: ParticleTable, mesh: Mesh | None
) -> PreparedImages:
    return PreparedImages.build(
        table,
        ImageSource(table),
        pixels=data.recipe.pixels,
        window_radius=data.recipe.window_radius,
        invert=data.recipe.invert,
        storage=data.recipe.storage,
        normalization=data.normalization,
        mesh=mesh,
    )

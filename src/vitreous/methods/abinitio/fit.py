"""Run an ab initio fit from a particle file to a run folder.

`train_abinitio` is what the command `abinit` calls, and what anyone can call from Python.
"""

import logging
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vitreous.errors import InputError
from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.geometry.resample import resample
from vitreous.maps import read_map
from vitreous.methods.abinitio.amortised.train import train_amortised
from vitreous.methods.abinitio.config import AbinitioConfig, config_from_dict, config_to_dict
from vitreous.methods.abinitio.conformations import add_conformations
from vitreous.methods.abinitio.found import Found
from vitreous.methods.abinitio.live import LiveFigures
from vitreous.methods.abinitio.outputs import write_found
from vitreous.methods.abinitio.search import SearchOptions, Watch, refine_found, search
from vitreous.methods.abinitio.setting import Setting
from vitreous.particles import ImageSource, ParticleTable
from vitreous.particles.loader import PreparedImages
from vitreous.training.inputs import DataOptions, prepared_images, read_checked
from vitreous.training.progress import run_log
from vitreous.training.run import Run

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
# Of half the box, before the particle has been measured; and of the box, how far it may lie off.
_RADIUS_SHARE, _SHIFT_SHARE = 0.62, 0.1
_STORE = "search.npz"
_LEAST_IMAGES = 50


def train_abinitio(
    particles: str | os.PathLike,
    outdir: str | os.PathLike,
    config: AbinitioConfig | None = None,
    data: DataOptions | None = None,
    *,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
) -> Run:
    """Find poses, and a map or a landscape, from images alone.

    **Arguments:** `particles`: `.star`, `.cs`, `.txt`, `.mrcs`; poses in it are not looked at.
    `outdir`: the run folder. `resume`: go on with an unfinished run. `progress`: called with a
    phase's name, how much of it is done and how much there is.

    **Returns:** the finished run; `outputs.write_found` says which files it holds.

    **Raises:** `InputError` for input that cannot be used.
    """
    config, data = config or AbinitioConfig(), data or DataOptions()
    arguments = data.particle_arguments(particles)
    if resume:
        run = Run.open(outdir)
        if run.method != "abinitio":
            raise InputError(f"{run.path}: a run of the method {run.method}, not abinitio")
        config = config_from_dict(run.config["abinitio"])
        if (run.path / "found.json").exists():
            logger.warning("%s is finished: nothing is left to do", run.path)
            return run
    else:
        Run.check_vacant(outdir, overwrite)
    table = read_checked(arguments, poses=False)
    if len(table) < _LEAST_IMAGES:
        raise InputError(
            f"{particles}: {len(table)} images are too few to find poses: at least {_LEAST_IMAGES}"
        )
    if resume and run.config["images"] != len(table):
        raise InputError(
            f"{run.path}: was made from {run.config['images']} images, now there are {len(table)}"
        )
    source = ImageSource(table)
    initial = _read_initial(config, source.box)
    if not resume:
        run = Run.create(
            outdir,
            {
                "method": "abinitio",
                "particles": arguments,
                "images": len(table),
                "box": int(source.box),
                "pixel_size": float(np.median(table.pixel_size)),
                "data": asdict(data) | {"ind": None},
                "abinitio": config_to_dict(config),
            },
            overwrite=overwrite,
        )
        (run.path / _STORE).unlink(missing_ok=True)
    with run_log(run.path):
        images = _prepare(run, table, source, config, data)
        with LiveFigures(run) as pictures:
            scale = images.normalization.fourier_scale(images.box)

            def watch(rotation, volume, fsc, history) -> None:
                pictures.show(rotation, volume * scale, fsc, history)

            found = find_poses(
                images, config, run, initial, progress, watch, data.contrast == "auto"
            )
        write_found(run, table, found)
        (run.path / _STORE).unlink(missing_ok=True)
    return run


def find_poses(
    data: PreparedImages,
    config: AbinitioConfig,
    run: Run,
    initial: Float[np.ndarray, "n n n"] | None = None,
    progress: Progress | None = None,
    watch: Watch | None = None,
    may_invert: bool = True,
) -> Found:
    """Find poses by the strategy that is asked for; see `train_abinitio`.

    **Arguments:** `initial`: a map in the units of the images. `watch`, `may_invert`: see `search`.
    """
    told = progress or (lambda phase, done, of: None)
    setting = surroundings(data, config, told)
    run.update_config(
        particle_radius=setting.radius, shift_reach=setting.reach, strategy=config.strategy
    )
    if config.strategy == "amortized":
        return _amortised(data, config, run, initial)
    store = run.path / _STORE
    volumes = None if initial is None else _prepared_units(initial, data)[None]
    options = SearchOptions(config.restarts, config.passes, may_invert)
    if config.strategy == "auto" and len(data) > config.large:
        return _encoder_in_between(setting, options, config, run, volumes, store)
    if config.strategy == "auto":
        logger.info(
            "%d images: a search through all of them costs less than an encoder, which is skipped",
            len(data),
        )
    found = search(setting, options, volumes, store, watch)
    if config.zdim:
        landscape = setting.inverted() if found.is_dark else setting
        found = add_conformations(landscape, found, config.zdim)
    return found


def surroundings(data: PreparedImages, config: AbinitioConfig, progress: Progress) -> Setting:
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


def _amortised(data: PreparedImages, config: AbinitioConfig, run: Run, initial) -> Found:
    volume = None if initial is None else np.asarray(_prepared_units(initial, data))
    settings = replace(
        config.amortised, z_dim=config.zdim, seed=config.seed, symmetry=config.symmetry
    )
    return train_amortised(data, settings, run, volume=volume)


def _encoder_in_between(
    setting: Setting, options: SearchOptions, config: AbinitioConfig, run: Run, volumes, store: Path
) -> Found:
    """Search on a part of the images, train an encoder on what was found, refine what it says."""
    data = setting.data
    some = np.random.default_rng((config.seed, 9)).permutation(len(data))[: config.large // 2]
    logger.info("searching on %d of %d images: a first map", len(some), len(data))
    first = search(replace(setting, data=subset(data, np.sort(some))), options, volumes, store)
    logger.info("%s; an encoder learns poses from this map", first.verdict)
    if first.is_dark:
        setting = setting.inverted()
    settings = replace(config.amortised, z_dim=0, seed=config.seed, symmetry=config.symmetry)
    told = train_amortised(setting.data, settings, run, logger.info, volume=first.volumes[0])
    logger.info("refining the poses that the encoder proposes")
    found = replace(refine_found(setting, told, options), is_dark=first.is_dark)
    return add_conformations(setting, found, config.zdim) if config.zdim else found


def subset(data: PreparedImages, rows: np.ndarray) -> PreparedImages:
    """Return some of the images, prepared as all are."""
    table = data.table.select(rows)
    return PreparedImages.build(
        table,
        ImageSource(table),
        pixels=data.recipe.pixels,
        window_radius=data.recipe.window_radius,
        invert=data.recipe.invert,
        storage=data.recipe.storage,
        normalization=data.normalization,
        mesh=data.mesh,
    )


def _read_initial(config: AbinitioConfig, box: int) -> Float[np.ndarray, "n n n"] | None:
    if config.initial_map is None:
        return None
    volume = np.asarray(read_map(config.initial_map).data, np.float32)
    if len(set(volume.shape)) != 1:
        raise InputError(f"{config.initial_map}: a box of {volume.shape}, not a cube")
    if not np.ptp(volume) > 0:
        raise InputError(f"{config.initial_map}: the map is empty")
    if volume.shape[0] != box:
        volume = np.asarray(resample(jnp.asarray(volume), box, 3))
    return volume


def _prepared_units(
    volume: Float[np.ndarray, "n n n"], data: PreparedImages
) -> Float[Array, "..."]:
    """Scale a map in the units of the images (a projection is the sum of voxels) to theirs."""
    return jnp.asarray(volume / data.normalization.fourier_scale(data.box), jnp.float32)


def _prepare(
    run: Run,
    table: ParticleTable,
    source: ImageSource,
    config: AbinitioConfig,
    data: DataOptions,
) -> PreparedImages:
    last = (source.box - 1) // 2
    pixels = FourierPixels(source.box, min(config.max_shell or last, last))
    contrast = run.config.get("contrast", "white" if data.contrast == "auto" else data.contrast)
    stored = run.config.get("normalization")
    images = prepared_images(table, source, data, pixels, contrast, stored)
    run.update_config(normalization=[float(x) for x in images.normalization], contrast=contrast)
    return images

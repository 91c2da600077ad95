"""Run a flexible fit from a particle file to a run folder: what `optimize-deformations` calls."""

import logging
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from vitreous.errors import InputError
from vitreous.files import is_writer
from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.methods.flexible.agreement import all_latents, compare_halves, write_agreement
from vitreous.methods.flexible.checks import check_masks, check_options
from vitreous.methods.flexible.config import FlexibleConfig, config_from_dict
from vitreous.methods.flexible.figures import draw_motion
from vitreous.methods.flexible.model import FlexibleMethod
from vitreous.methods.flexible.outputs import FOLDER, write_models
from vitreous.methods.flexible.run_files import START_FILE, read_start, write_start
from vitreous.methods.flexible.start import Start
from vitreous.methods.flexible.starts.choice import make_start
from vitreous.methods.flexible.starts.encoder_start import measure_encoder
from vitreous.methods.flexible.state import FlexibleState
from vitreous.particles import ImageSource, ParticleTable
from vitreous.particles.device_data import local
from vitreous.particles.loader import PreparedImages
from vitreous.particles.processes import as_first
from vitreous.reconstruction.foundation import Foundation, lay_foundation, lay_on_white
from vitreous.reconstruction.half_sets import half_sets
from vitreous.training.distributed import wait_for_all
from vitreous.training.fit import FitOptions, fit
from vitreous.training.inputs import DataOptions, prepared_images, read_checked
from vitreous.training.run import Run
from vitreous.training.unseen import check_box

logger = logging.getLogger(__name__)


def optimize_deformations(
    particles: str | os.PathLike,
    outdir: str | os.PathLike,
    config: FlexibleConfig,
    data: DataOptions | None = None,
    options: FitOptions | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> Run:
    """Fit Gaussians that move to particles with known poses, each half set its own.

    **Arguments:** `particles`: a file with poses. `outdir`: the run folder. `config`: settings.
    `options`: of the loop; its epochs, batch size and seed follow `config`. `resume`: go on with
    the run in `outdir`; `config.epochs` may be larger.

    **Returns:** the finished run: latents of all particles in the frame of half 1's model, and in
    `agreement.npz` how far the halves agree.

    **Raises:** `InputError` for input that cannot be used, before the work starts.
    """
    data = data or DataOptions()
    if resume:
        run = Run.open(outdir)
        config = _resumed_config(run, config)
    else:
        Run.check_vacant(outdir, overwrite)
        check_options(config)
    options = replace(
        options or FitOptions(),
        epochs=config.epochs,
        batch_size=config.batch_size,
        seed=config.seed,
    )
    arguments = data.particle_arguments(particles)
    table = read_checked(arguments)
    source = ImageSource(table)
    pixel_size = float(np.median(table.pixel_size))
    pixels = FourierPixels(source.box, (source.box - 1) // 2)
    build = partial(prepared_images, table, source, data, pixels)
    if resume:
        check_box(run, source.box, particles)
        run.check_images(len(table))
        if asdict(config) != run.config["flexible"]:
            run.update_config(flexible=asdict(config))
        laid = _laid_before(run, build) or _lay(table, build, config, data)
    else:
        check_masks(config, int(source.box), pixel_size)
        laid = _lay(table, build, config, data)
        # An older run makes way for one that can begin, and not before.
        run = Run.create(
            outdir,
            {
                "method": "flexible",
                "particles": arguments,
                "images": len(table),
                "box": int(source.box),
                "pixel_size": pixel_size,
                "data": asdict(replace(data, ind=None)),
                "flexible": asdict(config),
            },
            overwrite=overwrite,
        )
        (run.path / START_FILE).unlink(missing_ok=True)
    laid = _kept(run, laid)
    method = FlexibleMethod(config, laid.start, pixels, pixel_size, laid.half, laid.group)
    if config.refine_poses:
        method.rotation = np.asarray(table.rotation, np.float64)
    if config.encoder and run.checkpoints.latest() is None:
        found_start = measure_encoder(method.encoding, laid.start, laid.prepared)
        method.encoder_start = as_first(found_start)

    def on_checkpoint(state: FlexibleState, epoch: int) -> None:
        save_results(run, method, state, laid.prepared, epoch)

    fit(method, laid.prepared, run, options, on_checkpoint)
    return run


def _resumed_config(run: Run, config: FlexibleConfig) -> FlexibleConfig:
    """Continue with the settings the run was started with; only the end may move."""
    run.check_method("flexible")
    return replace(config_from_dict(run.config["flexible"]), epochs=config.epochs)


def optics_groups(table: ParticleTable) -> Int[np.ndarray, " n"]:
    """Number the optics groups of images from 0."""
    return np.unique(np.asarray(table.optics_group), return_inverse=True)[1].astype(np.int32)


class _Laid(NamedTuple):
    """What a fit starts from: prepared images and their contrast, the start, half and optics group
    of every image."""

    prepared: PreparedImages
    contrast: str
    start: Start
    half: Int[np.ndarray, " n"]
    group: Int[np.ndarray, " n"]


def _lay(
    table: ParticleTable,
    build: Callable[..., PreparedImages],
    config: FlexibleConfig,
    data: DataOptions,
) -> _Laid:
    """Prepare images and measure the start."""

    def found(prepared: PreparedImages) -> Foundation:
        return lay_foundation(
            prepared,
            with_consensus=True,
            whiten=True,
            particle_diameter=config.particle_diameter,
        )

    prepared, foundation, contrast = lay_on_white(
        lambda contrast: build(contrast, data.normalization), found, data.contrast
    )
    half = half_sets(len(table), table.half_set, table.particle)
    group = optics_groups(table)
    start = make_start(config, prepared, foundation, half, group)
    return _Laid(prepared, contrast, start, half, group)


def _laid_before(run: Run, build: Callable[..., PreparedImages]) -> _Laid | None:
    """Read back the start of a run; None if it stopped before it had one."""
    kept = read_start(run)
    if kept is None:
        return None
    contrast = run.config["contrast"]
    return _Laid(build(contrast, run.config["normalization"]), contrast, *kept)


def _kept(run: Run, laid: _Laid) -> _Laid:
    """Keep the start with its run, and take the one that the first process has laid.

    Machines need not round alike.
    """
    normalization = [float(x) for x in laid.prepared.normalization]
    run.update_config(normalization=normalization, contrast=laid.contrast)
    if is_writer() and read_start(run) is None:
        write_start(run, laid.start, laid.half, laid.group)
    wait_for_all("start laid")
    if is_writer():
        return laid
    kept = read_start(run)
    if kept is None:
        raise InputError(f"{run.path / START_FILE} is not seen here: machines must share a disk")
    return laid._replace(start=kept[0])


def save_results(
    run: Run, method: FlexibleMethod, state: FlexibleState, prepared: PreparedImages, epoch: int
) -> None:
    """Save all latents in one frame, how far the halves agree, and their models."""
    first, second = all_latents(method, state, prepared)
    agreement = compare_halves(state, first.mean, second.mean)
    if not is_writer():
        return
    run.save_latents(first, epoch)
    write_agreement(run, agreement, second)
    write_models(run, method, local(state), epoch)
    draw_motion(run.path / FOLDER / "motion.png", agreement, run.metrics())
    logger.info(
        "epoch %d: the halves' motions of %.2f Å agree by %.3f (correlation), to %.2f Å",
        *(epoch, agreement.motion, agreement.correlation, agreement.error),
    )

"""Run a flexible fit from a particle file to a run folder: what `optimize-deformations` calls."""

import logging
import os
from dataclasses import asdict, replace

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
    if resume:
        check_box(run, source.box, particles)
        run.check_images(len(table))
        if asdict(config) != run.config["flexible"]:
            run.update_config(flexible=asdict(config))
    else:
        check_masks(config, int(source.box), float(np.median(table.pixel_size)))
        run = Run.create(
            outdir,
            {
                "method": "flexible",
                "particles": arguments,
                "images": len(table),
                "box": int(source.box),
                "pixel_size": float(np.median(table.pixel_size)),
                "data": asdict(replace(data, ind=None)),
                "flexible": asdict(config),
            },
            overwrite=overwrite,
        )
        (run.path / START_FILE).unlink(missing_ok=True)
    try:
        method, prepared = _prepare(run, table, source, config, data)
    except InputError:
        if read_start(run) is None:
            _forget(run)
        raise

    def on_checkpoint(state: FlexibleState, epoch: int) -> None:
        save_results(run, method, state, prepared, epoch)

    fit(method, prepared, run, options, on_checkpoint)
    return run


def _forget(run: Run) -> None:
    """Leave no run behind that never began."""
    if not is_writer():
        return
    for name in ("config.yaml", "run.log"):
        (run.path / name).unlink(missing_ok=True)
    if not any(run.path.iterdir()):
        run.path.rmdir()


def _resumed_config(run: Run, config: FlexibleConfig) -> FlexibleConfig:
    """Continue with the settings the run was started with; only the end may move."""
    run.check_method("flexible")
    return replace(config_from_dict(run.config["flexible"]), epochs=config.epochs)


def optics_groups(table: ParticleTable) -> Int[np.ndarray, " n"]:
    """Number the optics groups of images from 0."""
    return np.unique(np.asarray(table.optics_group), return_inverse=True)[1].astype(np.int32)


def _prepare(
    run: Run,
    table: ParticleTable,
    source: ImageSource,
    config: FlexibleConfig,
    data: DataOptions,
) -> tuple[FlexibleMethod, PreparedImages]:
    """Prepare images and measure the start, or read back that of a resumed run."""
    pixels = FourierPixels(source.box, (source.box - 1) // 2)
    stored = run.config.get("normalization") or data.normalization

    def build(contrast: str) -> PreparedImages:
        return prepared_images(table, source, data, pixels, contrast, stored)

    def found(prepared: PreparedImages) -> Foundation:
        return lay_foundation(
            prepared,
            with_consensus=True,
            whiten=True,
            particle_diameter=config.particle_diameter,
        )

    contrast = run.config.get("contrast", data.contrast)
    kept = read_start(run)
    if kept is None:
        prepared, foundation, contrast = lay_on_white(build, found, contrast)
        half = half_sets(len(table), table.half_set, table.particle)
        group = optics_groups(table)
        start = make_start(config, prepared, foundation, half, group)
        normalization = [float(x) for x in prepared.normalization]
        run.update_config(normalization=normalization, contrast=contrast)
        write_start(run, start, half, group)
        start = _of_first(run, start)
    else:
        prepared = build(contrast)
        start, half, group = kept
    pixel_size = float(np.median(table.pixel_size))
    method = FlexibleMethod(config, start, pixels, pixel_size, half, group)
    if config.refine_poses:
        method.rotation = np.asarray(table.rotation, np.float64)
    if config.encoder and run.checkpoints.latest() is None:
        found_start = measure_encoder(method.encoding, start, prepared)
        method.encoder_start = as_first(found_start)
    return method, prepared


def _of_first(run: Run, start: Start) -> Start:
    """Take the start that the first process has laid: machines need not round alike."""
    wait_for_all("start laid")
    if is_writer():
        return start
    kept = read_start(run)
    if kept is None:
        raise InputError(f"{run.path / START_FILE} is not seen here: machines must share a disk")
    return kept[0]


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

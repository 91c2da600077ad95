"""Run an ab initio fit from a particle file to a run folder.

`train_abinitio` is what the command `abinit` calls, and what anyone can call from Python.
"""

import logging
import os
import signal
from dataclasses import asdict

import numpy as np

from vitreous.errors import Interrupted
from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.methods.abinitio.beginning import Beginning, check_images, read_beginning
from vitreous.methods.abinitio.config import AbinitioConfig, config_from_dict, config_to_dict
from vitreous.methods.abinitio.found import Found
from vitreous.methods.abinitio.live import LiveFigures
from vitreous.methods.abinitio.outputs import write_found
from vitreous.methods.abinitio.strategy import STORE, Told, find_poses, surroundings
from vitreous.methods.abinitio.tilts import Series, follow_tilts, series_of
from vitreous.particles import ImageSource, ParticleTable
from vitreous.particles.loader import PreparedImages
from vitreous.particles.processes import most_of_processes
from vitreous.training.inputs import DataOptions, prepared_images, read_checked
from vitreous.training.progress import run_log
from vitreous.training.run import Run
from vitreous.training.signals import StopRequest, stop_on_signal

logger = logging.getLogger(__name__)


def train_abinitio(
    particles: str | os.PathLike,
    outdir: str | os.PathLike,
    config: AbinitioConfig | None = None,
    data: DataOptions | None = None,
    *,
    overwrite: bool = False,
    resume: bool = False,
    progress: Told | None = None,
    resume_command: str = "vitreous abinit … --resume",
) -> Run:
    """Find poses, and a map or a landscape, from images alone.

    **Arguments:** `particles`: `.star`, `.cs`, `.txt`, `.mrcs`; poses in it are not looked at.
    `outdir`: the run folder. `resume`: go on with an unfinished run. `progress`: called with a
    phase's name, how much of it is done and how much there is. `resume_command`: told whoever
    stops the fit.

    **Returns:** the finished run; `outputs.write_found` says which files it holds.

    **Raises:** `InputError` for input that cannot be used; `Interrupted` after SIGTERM or SIGUSR1.
    """
    config, data = config or AbinitioConfig(), data or DataOptions()
    arguments = data.particle_arguments(particles)
    if resume:
        run = Run.open(outdir)
        run.check_method("abinitio")
        config = config_from_dict(run.config["abinitio"])
        if (run.path / "found.json").exists():
            logger.warning("%s is finished: nothing is left to do", run.path)
            return run
    else:
        Run.check_vacant(outdir, overwrite)
    table = read_checked(arguments, poses=False)
    series = series_of(table)
    searched = table if series is None else table.select(series.reference)
    check_images(searched, particles)
    source = ImageSource(table)
    begin = read_beginning(config, searched, source.box)
    if resume:
        run.check_images(len(table))
    else:
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
        (run.path / STORE).unlink(missing_ok=True)
    with run_log(run.path), stop_on_signal() as stop:
        told = _stopping(progress, stop, resume_command)
        found = _find(run, searched, config, data, begin, told)
        if series is not None:
            found = _follow(run, table, config, data, series, found, told)
        write_found(run, table, found)
        (run.path / STORE).unlink(missing_ok=True)
    return run


def _find(
    run: Run,
    table: ParticleTable,
    config: AbinitioConfig,
    data: DataOptions,
    begin: Beginning,
    told: Told,
) -> Found:
    """Find poses of the images of a table, and draw how it goes."""
    is_open = data.contrast == "auto" and begin.contrast is None
    contrast = begin.contrast if data.contrast == "auto" else data.contrast
    images = _prepare(run, table, config, data, contrast or "white")
    scale = images.normalization.fourier_scale(images.box)
    with LiveFigures(run) as pictures:

        def watch(rotation, volume, fsc, history) -> None:
            pictures.show(rotation, volume * scale, fsc, history)

        return find_poses(images, config, run, begin, told, watch, is_open)


def _follow(
    run: Run,
    table: ParticleTable,
    config: AbinitioConfig,
    data: DataOptions,
    series: Series,
    found: Found,
    told: Told,
) -> Found:
    """Let the other images of particles follow the first ones, whose poses are found."""
    logger.info("poses of %d particles stand: their other images follow", len(series.groups))
    images = _images(table, config, data, _sign(run, found), run.config["normalization"])
    setting = surroundings(images, config, told)
    return follow_tilts(setting, series, found, config.zdim, config.keep_map)


def _sign(run: Run, found: Found) -> str:
    """Say which contrast the images have that poses were found of."""
    contrast = str(run.config["contrast"])
    if not found.is_dark:
        return contrast
    return "white" if contrast == "dark" else "dark"


def _stopping(progress: Told | None, stop: StopRequest, command: str) -> Told:
    """Tell progress on, and stop between two steps if a signal asked for it.

    Whatever was finished is on disk by then; a step that is done again comes out the same.
    """

    def told(phase: str, done: int, of: int) -> None:
        if progress is not None:
            progress(phase, done, of)
        # A signal need not reach all processes in one step.
        number = most_of_processes(0 if stop.signal is None else int(stop.signal))
        if number:
            name = signal.Signals(number).name
            raise Interrupted(f"stopped by {name} ({phase}); continue with: {command}")

    return told


def _prepare(
    run: Run, table: ParticleTable, config: AbinitioConfig, data: DataOptions, contrast: str
) -> PreparedImages:
    contrast = run.config.get("contrast", contrast)
    images = _images(table, config, data, contrast, run.config.get("normalization"))
    run.update_config(normalization=[float(x) for x in images.normalization], contrast=contrast)
    return images


def _images(
    table: ParticleTable,
    config: AbinitioConfig,
    data: DataOptions,
    contrast: str,
    normalization: list[float] | None,
) -> PreparedImages:
    source = ImageSource(table)
    last = (source.box - 1) // 2
    pixels = FourierPixels(source.box, min(config.max_shell or last, last))
    return prepared_images(table, source, data, pixels, contrast, normalization, by_process=True)

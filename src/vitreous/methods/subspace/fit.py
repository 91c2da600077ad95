"""Run a subspace fit from a particle file to a run folder.

`train_subspace` is what the command of that name calls, and what anyone can call from Python.
"""

import logging
import os
from collections.abc import Callable
from dataclasses import asdict, replace

import numpy as np
from jaxtyping import Float

from vitreous.errors import InputError
from vitreous.methods.subspace.components import plot_support
from vitreous.methods.subspace.config import SubspaceConfig, config_from_dict
from vitreous.methods.subspace.em import Fit, fit_em
from vitreous.methods.subspace.estimate import first_noise, start
from vitreous.methods.subspace.model import band_mean
from vitreous.methods.subspace.online import fit_online
from vitreous.methods.subspace.poses import PoseSearch
from vitreous.methods.subspace.preparation import Prepared, prepare_fit, sets_of
from vitreous.methods.subspace.results import save_latents, save_state
from vitreous.methods.subspace.resume import STATE, Keeper, read_kept
from vitreous.methods.subspace.schedule import schedule
from vitreous.particles import ImageSource, read_map
from vitreous.particles.tilts import check_tilts, tilt_groups
from vitreous.training.inputs import DataOptions, read_checked
from vitreous.training.progress import run_log
from vitreous.training.run import Run
from vitreous.training.signals import stop_on_signal

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]


def train_subspace(
    particles: str | os.PathLike,
    outdir: str | os.PathLike,
    config: SubspaceConfig | None = None,
    data: DataOptions | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    resume_command: str = "vitreous train-subspace … --resume",
    progress: Progress | None = None,
) -> Run:
    """Fit a linear subspace of volumes to particles with known poses.

    Images of one particle (tilt series) share its coordinates.

    **Arguments:** `particles`: `.star`, `.cs`, `.txt`, `.mrcs`. `outdir`: the run folder.
    `resume`: go on with the run in `outdir`, by its own settings. `resume_command`: what an
    interrupted run tells the user to type. `progress`: called with a stage's name, how much of
    it is done and how much there is.

    **Returns:** the finished run. Beside the files of every run: `subspace.npz` (mean, components
    and half sets of both), `posterior.npz` (covariance of each latent, contrast) and
    `components.png`.

    **Raises:** `InputError` for input that cannot be used, and for more components than the data
    support; `Interrupted` after SIGTERM or SIGUSR1.
    """
    config, data = config or SubspaceConfig(), data or DataOptions()
    if resume:
        run = _interrupted_run(outdir)
        if run.checkpoints.latest() is not None:
            logger.warning("%s is finished: nothing is left to do", run.path)
            return run
        config = config_from_dict(run.config["subspace"])
    else:
        Run.check_vacant(outdir, overwrite)
    data = replace(data, ind_of="particles")
    arguments = data.particle_arguments(particles)
    table = read_checked(arguments)
    check_tilts(table, data.tilts, config.dose_per_tilt)
    groups = tilt_groups(table)
    owners = "images" if groups is None else "particles"
    config.check_support(len(table) if groups is None else len(groups), owners)
    source = ImageSource(table)
    focus = _read_focus(config, source.box)
    if not resume:
        settings = {
            "method": "subspace",
            "particles": arguments,
            "images": len(table),
            "latents_of": owners,
            "box": int(source.box),
            "pixel_size": float(np.median(table.pixel_size)),
            "data": asdict(data) | {"ind": None},
            "subspace": asdict(config),
        }
        run = Run.create(outdir, settings, overwrite=overwrite)
        (run.path / STATE).unlink(missing_ok=True)
    else:
        run.check_images(len(table))
    with run_log(run.path), stop_on_signal() as stop:
        keeper = Keeper(run.path, stop, resume_command)
        prepared = prepare_fit(run, table, source, config, data, keeper)
        fit = fit_subspace(prepared, config, focus, progress, keeper)
        _save(run, fit, prepared, config)
    return run


def _save(run: Run, fit: Fit, prepared: Prepared, config: SubspaceConfig) -> None:
    """Write what was found, and how much of it the data support even if that is too little."""
    try:
        count = _supported(fit, config)
        run.update_config(zdim=count)
        save_latents(run, fit, count)
        save_state(run, fit, prepared.ground, count)
    finally:
        plot_support(fit.support, run.path / "components.png")
    (run.path / STATE).unlink(missing_ok=True)


def _interrupted_run(outdir: str | os.PathLike) -> Run:
    run = Run.open(outdir)
    run.check_method("subspace")
    return run


def fit_subspace(
    prepared: Prepared,
    config: SubspaceConfig,
    focus: Float[np.ndarray, "n n n"] | None = None,
    progress: Progress | None = None,
    keeper: Keeper | None = None,
) -> Fit:
    """Fit prepared images; see `train_subspace`."""
    passes, ground, _ = prepared
    data, band = passes.data, passes.band
    half, groups = sets_of(data.table)
    mask = ground.mask(data.box, band.size)
    inside = np.ones_like(mask)
    if focus is not None:
        inside = np.clip(band_mean(focus, band) * (data.box / band.size) ** -3, 0, 1)
    masks = np.stack([mask] + [mask * inside] * band.components)
    noise = first_noise(groups, band)
    estimate = start(ground.half_maps * mask, masks, half, noise, band, config.seed)
    steps = schedule(band.max_shell, config.iterations)
    told = None if progress is None else lambda done, of: progress("subspace", done, of)
    kept = None
    if keeper is not None and keeper.ground is not None:
        kept = read_kept(keeper.folder, estimate)
    if config.online:
        steps, all_steps = steps[-1:], steps
        if kept is None:
            estimate = fit_online(passes, estimate, masks, all_steps, config.block, config.seed)
    if keeper is not None:
        keeper.ground = ground
    search = PoseSearch(passes, config.pose_spread) if config.refine_poses else None
    return fit_em(
        passes,
        estimate,
        masks,
        steps,
        explore=search,
        progress=told,
        keep=keeper,
        kept=kept,
    )


def _read_focus(config: SubspaceConfig, box: int) -> Float[np.ndarray, "n n n"] | None:
    if config.focus_mask is None:
        return None
    mask = np.asarray(read_map(config.focus_mask).data, np.float32)
    if mask.shape != (box, box, box):
        raise InputError(f"{config.focus_mask}: a mask of {mask.shape}, the images have box {box}")
    if not (mask > 0).any():
        raise InputError(f"{config.focus_mask}: the mask is 0 everywhere")
    return mask


def _supported(fit: Fit, config: SubspaceConfig) -> int:
    """Decide how many components to keep.

    **Raises:** `InputError` if fewer are supported than asked for.
    """
    supported = fit.support.supported
    if config.zdim is None:
        if supported == 0:
            raise InputError(
                "half sets share no component: these particles show no heterogeneity that can be "
                "told from noise; give --zdim with --keep-all to look at the strongest ones"
            )
        if supported == config.components:
            logger.warning(
                "all %d components that were tried are supported; there may be more (--zdim %d)",
                supported,
                2 * supported,
            )
        return supported
    if supported < config.zdim and not config.keep_all:
        raise InputError(
            f"the data support {supported} components, not {config.zdim}: the others do not "
            f"explain images of the other half set; use --zdim {max(supported, 1)}, leave --zdim "
            "out, or add --keep-all"
        )
    return config.zdim

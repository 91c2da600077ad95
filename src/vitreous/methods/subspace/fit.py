"""Run a subspace fit from a particle file to a run folder.

`train_subspace` is what the command of that name calls, and what anyone can call from Python.
"""

import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from vitreous.errors import InputError
from vitreous.files import atomic_path
from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.methods.subspace.components import plot_support
from vitreous.methods.subspace.config import SubspaceConfig
from vitreous.methods.subspace.decode import STATE_FILE
from vitreous.methods.subspace.em import (
    Fit,
    band_mean,
    compile_ahead,
    fit_em,
    schedule,
    start,
)
from vitreous.methods.subspace.expectation import ContrastPrior
from vitreous.methods.subspace.model import Band, Noise
from vitreous.methods.subspace.online import fit_online
from vitreous.methods.subspace.passes import Passes
from vitreous.methods.subspace.poses import PoseSearch
from vitreous.particles import ImageSource, ParticleTable, read_map, save_latent_pickle
from vitreous.particles.loader import PreparedImages
from vitreous.reconstruction.finish import Consensus
from vitreous.reconstruction.foundation import looks_dark, particle_radius, reconstruct_consensus
from vitreous.reconstruction.half_sets import half_sets
from vitreous.reconstruction.masks import spherical_mask
from vitreous.training.inputs import DataOptions, prepared_images, read_checked
from vitreous.training.pose_files import save_poses
from vitreous.training.position import Position
from vitreous.training.progress import run_log
from vitreous.training.run import Latents, Run

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]


class Ground(NamedTuple):
    """Hold what a fit starts from: consensus and half maps, particle radius in pixels."""

    consensus: Consensus
    radius: float
    mask: Float[np.ndarray, "n n n"]


def train_subspace(
    particles: str | os.PathLike,
    outdir: str | os.PathLike,
    config: SubspaceConfig | None = None,
    data: DataOptions | None = None,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Run:
    """Fit a linear subspace of volumes to particles with known poses.

    **Arguments:** `particles`: `.star`, `.cs`, `.txt`, `.mrcs`. `outdir`: the run folder.
    `progress`: called with a stage's name, how much of it is done and how much there is.

    **Returns:** the finished run. Beside the files of every run: `subspace.npz` (mean, components
    and half sets of both), `posterior.npz` (covariance of each latent, contrast) and
    `components.png`.

    **Raises:** `InputError` for input that cannot be used, and for more components than the data
    support.
    """
    config, data = config or SubspaceConfig(), data or DataOptions()
    Run.check_vacant(outdir, overwrite)
    arguments = data.particle_arguments(particles)
    table = read_checked(arguments)
    config.check_support(len(table))
    source = ImageSource(table)
    focus = _read_focus(config, source.box)
    run = Run.create(
        outdir,
        {
            "method": "subspace",
            "particles": arguments,
            "images": len(table),
            "box": int(source.box),
            "pixel_size": float(np.median(table.pixel_size)),
            "data": asdict(data) | {"ind": None},
            "subspace": asdict(config),
        },
        overwrite=overwrite,
    )
    with run_log(run.path):
        passes, ground, contrast = _prepare(table, source, config, data)
        run.update_config(
            normalization=[float(x) for x in passes.data.normalization],
            contrast=contrast,
            particle_radius=ground.radius,
        )
        fit = fit_subspace(passes, ground, config, focus, progress)
        try:
            count = _supported(fit, config)
            run.update_config(zdim=count)
            save_fit(run, fit, ground, count)
        finally:
            plot_support(fit.support, run.path / "components.png")
    return run


def image_passes(data: PreparedImages, config: SubspaceConfig) -> Passes:
    """Say how images are passed over."""
    band = Band(data.box, config.shell(data.box), config.components)
    contrast = ContrastPrior.normal(config.contrast_spread) if config.contrast else ContrastPrior()
    return Passes(data, band, contrast, config.batch_size)


def fit_subspace(
    passes: Passes,
    ground: Ground,
    config: SubspaceConfig,
    focus: Float[np.ndarray, "n n n"] | None = None,
    progress: Progress | None = None,
) -> Fit:
    """Fit the images that `passes` go over; see `train_subspace`."""
    data, band, table = passes.data, passes.band, passes.data.table
    half = half_sets(len(table), table.half_set, table.particle)
    groups = np.unique(table.optics_group, return_inverse=True)[1].astype(np.int32)
    # Background pixels have power 1 by their normalisation; what the window leaves of it, and
    # any colour, comes out of the first pass.
    power = jnp.full((int(groups.max()) + 1, band.shells), 0.7, jnp.float32)
    noise = Noise(power, jnp.asarray(groups), jnp.asarray(band.max_shell, jnp.int32))
    # In one call: what is compiled for another number of maps is compiled again.
    maps = np.asarray(ground.consensus.half_maps) * ground.mask
    shown = np.ones_like(ground.mask) if focus is None else focus
    *mean, mask, focused = band_mean(np.stack([*maps, ground.mask, shown]), band)
    mask, focused = (np.clip(m * (data.box / band.size) ** -3, 0, 1) for m in (mask, focused))
    masks = np.stack([mask] + [mask * focused] * band.components)
    estimate = start(np.stack(mean), masks, half, noise, band, config.seed)
    steps = schedule(band.max_shell, config.iterations)
    told = None if progress is None else lambda done, of: progress("subspace", done, of)
    if config.online:
        estimate = fit_online(passes, estimate, masks, steps, config.block, config.seed)
        steps = steps[-1:]
    search = PoseSearch(passes, config.pose_spread) if config.refine_poses else None
    return fit_em(passes, estimate, masks, steps, explore=search, progress=told)


def lay_ground(data: PreparedImages, particle_diameter: float | None = None) -> Ground:
    """Reconstruct the consensus and its half maps, and measure the particle."""
    pixel_size = float(np.median(np.asarray(data.table.pixel_size)))
    consensus = reconstruct_consensus(data, pixel_size, 256)
    if particle_diameter is not None:
        radius = particle_diameter / 2 / pixel_size
    else:
        radius = particle_radius(*np.asarray(consensus.half_maps))
    radius = float(np.clip(radius, 4.0, 0.5 * data.box - 1))
    mask = spherical_mask(data.box, radius, soft_edge=max(3.0, 0.05 * data.box))
    logger.info("consensus of %d images, radius %.1f pixels", len(data), radius)
    return Ground(consensus, radius, mask)


def _prepare(
    table: ParticleTable, source: ImageSource, config: SubspaceConfig, data: DataOptions
) -> tuple[Passes, Ground, str]:
    pixels = FourierPixels(source.box, (source.box - 1) // 2)

    def lay(contrast: str) -> tuple[Passes, Ground]:
        passes = image_passes(prepared_images(table, source, data, pixels, contrast), config)
        # Compiling takes one core, and longer than the consensus that is made meanwhile.
        with ThreadPoolExecutor(1) as worker:
            compiled = worker.submit(compile_ahead, passes, len(np.unique(table.optics_group)))
            ground = lay_ground(passes.data, config.particle_diameter)
            compiled.result()
        return passes, ground

    passes, ground = lay(data.contrast)
    if data.contrast == "auto" and looks_dark(ground.consensus):
        logger.warning("the particles are dark: inverting them (as --uninvert-data does)")
        return *lay("dark"), "dark"
    return passes, ground, data.contrast


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


def save_fit(run: Run, fit: Fit, ground: Ground, count: int) -> None:
    """Save latents first, then what decodes them."""
    seen, epoch = fit.seen, len(fit.history)
    mean = np.asarray(seen.mean)[:, :count]
    covariance = np.asarray(seen.covariance)[:, :count, :count]
    variance = np.diagonal(covariance, axis1=1, axis2=2)
    log_variance = np.log(np.maximum(variance, 1e-12)).astype(np.float32)
    run.save_latents(Latents(mean, log_variance), epoch)
    save_latent_pickle(run.path / f"z.{epoch}.pkl", mean, log_variance)
    with atomic_path(run.path / "posterior.npz") as temporary:
        np.savez(temporary, covariance=covariance, contrast=seen.contrast, evidence=seen.evidence)
    support = fit.support
    state = {
        "volumes": fit.volumes[: count + 1],
        "halves": fit.halves[:, : count + 1],
        "consensus": np.asarray(ground.consensus.volume) * ground.mask,
        "fsc": fit.fsc[: count + 1],
        "noise": fit.noise,
        "evidence": support.evidence,
        "correlation": support.correlation,
        "power": support.power,
        "history": np.asarray(fit.history),
    }
    with atomic_path(run.path / STATE_FILE) as temporary:
        np.savez(temporary, **state)  # type: ignore[arg-type]
    images = len(fit.data)
    position = Position(epoch, 0, epoch, 0, 1, images)
    run.checkpoints.save({"volumes": state["volumes"], "consensus": state["consensus"]}, position)
    if fit.data.table is not None and fit.data.arrays.columns is not None:
        _save_poses(run, fit)


def _save_poses(run: Run, fit: Fit) -> None:
    table, columns = fit.data.table, fit.data.arrays.columns
    assert columns.rotation is not None
    rotation = np.asarray(columns.rotation)[: len(table)]
    assert table.rotation is not None
    if np.array_equal(rotation, table.rotation.astype(np.float32)):
        return
    shift = np.asarray(columns.shift)[: len(table)]
    save_poses(run, table.replace(rotation=rotation, shift=shift))

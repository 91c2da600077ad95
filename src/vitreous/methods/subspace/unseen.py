"""Tell the latents of images that a subspace fit has never seen: one more E-step."""

import os
from dataclasses import replace

import jax.numpy as jnp
import numpy as np

from vitreous.errors import InputError
from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.methods.subspace.config import config_from_dict
from vitreous.methods.subspace.decode import STATE_FILE
from vitreous.methods.subspace.model import Band, Noise, Subspace, volumes_to_grid
from vitreous.methods.subspace.preparation import image_passes
from vitreous.particles import ImageSource
from vitreous.particles.tilts import check_tilts, weigh_tilts
from vitreous.training.inputs import DataOptions, prepared_images, read_checked
from vitreous.training.run import Latents, Run
from vitreous.training.unseen import Unseen, check_box


def evaluate(
    run: Run, particles: str | os.PathLike, data: DataOptions, epoch: int | None = None
) -> Unseen:
    """Infer the latents of new particles, all tilts of one together: what the registry asks for.

    Optics groups of the new images are unknown to the fit: each has the mean noise of its groups.

    **Arguments:** `data`: how images are read; contrast and normalisation are the run's. `epoch`:
    only the last is kept.

    **Raises:** `InputError` if the run is unfinished, or the images have another box.
    """
    file = run.path / STATE_FILE
    if not file.is_file():
        raise InputError(f"{run.path}: has no {STATE_FILE}: its fit is not finished")
    with np.load(file, allow_pickle=False) as stored:
        volumes, power = stored["volumes"], stored["noise"].mean(axis=0)
    config = replace(config_from_dict(run.config["subspace"]), zdim=len(volumes) - 1)
    data = replace(data, ind_of="particles", tilts=run.particle_arguments().get("tilts"))
    table = read_checked(data.particle_arguments(particles))
    check_tilts(table, dose_per_tilt=config.dose_per_tilt)
    table = weigh_tilts(table, config.dose_per_tilt, config.angle_per_tilt)
    source = ImageSource(table)
    check_box(run, source.box, particles)
    pixels = FourierPixels(source.box, (source.box - 1) // 2)
    prepared = prepared_images(
        table, source, data, pixels, run.config["contrast"], run.config["normalization"]
    )
    passes = image_passes(prepared, config)
    band: Band = passes.band
    grid = volumes_to_grid(jnp.asarray(volumes, jnp.float32), band.size)
    none = jnp.zeros(len(table), jnp.int32)
    noise = Noise(jnp.asarray(power[None], jnp.float32), none, jnp.int32(band.max_shell))
    subspace, noise = passes.data.place((Subspace(jnp.stack([grid, grid]), none), noise))
    _, seen = passes.run(subspace, noise, collect=False)
    variance = np.diagonal(np.asarray(seen.covariance), axis1=1, axis2=2)
    log_variance = np.log(np.maximum(variance, 1e-12)).astype(np.float32)
    return Unseen(table, Latents(np.asarray(seen.mean), log_variance))

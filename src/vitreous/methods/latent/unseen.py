"""Tell latents of images that a fit has never seen, at the poses they come with.

By its encoder, or, where it has none, by a search for what its decoder shows best.
"""

import os

import jax.numpy as jnp

from vitreous.errors import InputError
from vitreous.methods.latent.config import config_from_dict
from vitreous.methods.latent.decode import load_model
from vitreous.methods.latent.fit import infer_latents
from vitreous.methods.latent.latent_search import search_latents
from vitreous.methods.latent.model import LatentMethod
from vitreous.methods.latent.state import LatentState
from vitreous.methods.latent.tilts import group_tilts, latents_of, tilt_data
from vitreous.particles import ImageSource
from vitreous.particles.tilts import check_tilts, weigh_tilts
from vitreous.training.inputs import DataOptions, prepared_images, read_checked
from vitreous.training.run import Latents, Run
from vitreous.training.unseen import Unseen, check_box


def evaluate(
    run: Run, particles: str | os.PathLike, data: DataOptions, epoch: int | None = None
) -> Unseen:
    """Infer the latents of new particles: what the registry asks for.

    **Arguments:** `data`: how images are read; contrast and normalisation are the run's.

    **Raises:** `InputError` if the run has no latents, or the images another box.
    """
    config = config_from_dict(run.config["latent"])
    if config.kind == "homogeneous":
        raise InputError(f"{run.path}: a fit of one map has no latents to tell of new images")
    data = tilt_data(config, data)
    table = read_checked(data.particle_arguments(particles))
    if latents_of(config, table) == "particles":
        check_tilts(table, dose_per_tilt=config.dose_per_tilt)
    table = weigh_tilts(table, config.dose_per_tilt, config.angle_per_tilt)
    source = ImageSource(table)
    check_box(run, source.box, particles)
    fitted, model = load_model(run, epoch)
    tilts = group_tilts(config, table)
    method = LatentMethod(config, fitted.foundation, fitted.pixels, len(table), tilts=tilts)
    prepared = prepared_images(
        table, source, data, method.pixels, run.config["contrast"], run.config["normalization"]
    )
    if config.kind == "autodecoder":
        known = run.latents(epoch).mean
        return Unseen(table, Latents(search_latents(method, model, prepared, known), None))
    state = LatentState(model, (), None, None, jnp.zeros((), jnp.int32))
    mean, log_variance = infer_latents(method, state, prepared)
    return Unseen(table, Latents(mean, log_variance))

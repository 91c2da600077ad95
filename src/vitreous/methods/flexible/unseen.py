"""Latents of images that a flexible fit has never seen, its decoder frozen."""

import os

import equinox as eqx
import numpy as np

from vitreous.errors import InputError
from vitreous.methods.flexible.agreement import infer_latents
from vitreous.methods.flexible.model import FlexibleMethod
from vitreous.methods.flexible.run_files import load_state
from vitreous.particles import ImageSource
from vitreous.training.inputs import DataOptions, prepared_images, read_checked
from vitreous.training.run import Run
from vitreous.training.unseen import Unseen, check_box


def evaluate(
    run: Run, particles: str | os.PathLike, data: DataOptions, epoch: int | None = None
) -> Unseen:
    """Find the latents of new particles under half 1's model: what the registry asks for.

    Optics groups of the new images are unknown to the fit: they have the noise of its first.

    **Raises:** `InputError` if the images have another box or no poses.
    """
    fitted, state = load_state(run, epoch)
    table = read_checked(data.particle_arguments(particles))
    source = ImageSource(table)
    check_box(run, source.box, particles)
    if "normalization" not in run.config:
        raise InputError(f"{run.path}: the run stopped before it began")
    prepared = prepared_images(
        table, source, data, fitted.pixels, run.config["contrast"], run.config["normalization"]
    )
    none = np.zeros(len(table), np.int32)
    method = FlexibleMethod(
        fitted.config, fitted.start, fitted.pixels, fitted.pixel_size, fitted.half, none
    )
    # Corrections of poses are those of other images.
    state = eqx.tree_at(lambda s: s.poses, state, None, is_leaf=lambda leaf: leaf is None)
    return Unseen(table, infer_latents(method, state, prepared)[0])

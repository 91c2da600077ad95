"""Poses and latents of images that a run has never seen.

An encoder proposes poses if the run trained one; else all poses of its maps are looked at.
"""

import logging
import os

import jax.numpy as jnp
import numpy as np

from vitreous.errors import InputError
from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.methods.abinitio.amortised.model import predict
from vitreous.methods.abinitio.amortised.train import load_poser
from vitreous.methods.abinitio.conformations import at_poses
from vitreous.methods.abinitio.decode import MAPS_FILE
from vitreous.methods.abinitio.found import typical_maps
from vitreous.methods.abinitio.posing import Bounds, Maps, Posing
from vitreous.methods.abinitio.setting import Setting
from vitreous.methods.abinitio.tilts import (
    Series,
    noise_beside,
    poses_at,
    refined_by_all,
    series_of,
    spread_poses,
)
from vitreous.particles import ImageSource
from vitreous.particles.loader import PreparedImages
from vitreous.reconstruction.curves import read_curves
from vitreous.reconstruction.fsc import crossing
from vitreous.reconstruction.weighed import image_power
from vitreous.training.inputs import DataOptions, prepared_images, read_checked
from vitreous.training.run import Latents, Run
from vitreous.training.unseen import Unseen, check_box

logger = logging.getLogger(__name__)

_SAMPLE = 512
# Shells of the grid's scores in a box of 32 that a particle fills to 62 %, and how many maps a
# run with latents is represented by.
_LOW_SHELL, _CLASSES = 7, 5
# Poses of an image that an encoder proposes.
_PROPOSED = 8
# Tilt images looked at together, and how often all of a particle improve its pose.
_BATCH, _ROUNDS = 64, 2


def evaluate(
    run: Run, particles: str | os.PathLike, data: DataOptions, epoch: int | None = None
) -> Unseen:
    """Find poses of new images, and latents if the run has some: what the registry asks for.

    **Arguments:** `data`: how images are read; contrast and normalisation are the run's.
    `epoch`: of the encoder's weights, if the run trained one; maps are the last ones.

    **Raises:** `InputError` if the run has no map yet, or the images another box.
    """
    file = run.path / MAPS_FILE
    if not file.is_file():
        raise InputError(f"{run.path}: stopped before it had a map; continue it with --resume")
    arguments = data.particle_arguments(particles)
    table = read_checked(arguments, poses=False)
    source = ImageSource(table)
    check_box(run, source.box, particles)
    pixels = FourierPixels(run.box, (run.box - 1) // 2)
    how = run.config["contrast"], run.config["normalization"]
    series = series_of(table)
    # The first image of a particle is posed alone, then all of them together.
    first = table if series is None else table.select(series.reference)
    prepared = prepared_images(first, ImageSource(first), data, pixels, *how)
    with np.load(file, allow_pickle=False) as stored:
        maps = _maps(run, stored["volumes"])
    rotation, shift, latent = pose_images(run, prepared, maps, epoch)
    if series is not None:
        prepared = prepared_images(table, source, data, pixels, *how, by_process=True)
        rotation, shift, latent = _of_all_tilts(
            run, prepared, maps, series, rotation, shift, latent
        )
    found = table.replace(rotation=rotation, shift=shift)
    return Unseen(found, Latents(latent) if latent.shape[1] else None, has_found_poses=True)


def pose_images(
    run: Run, data: PreparedImages, maps: Maps, epoch: int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the poses of all images.

    **Returns:** rotations, shifts in Å, latents.
    """
    sizes = np.asarray(data.table.pixel_size, np.float32)
    proposed = None
    if "amortised_frame" in run.config:
        poser = load_poser(run, epoch)
        told = predict(poser, data, count=min(_PROPOSED, poser.hypotheses))
        proposed = told.rotation, told.shift / sizes[:, None, None]
    search = Posing(data, maps, _bounds(run, data), proposed)
    sample = np.unique(np.linspace(0, len(data) - 1, min(len(data), _SAMPLE)).astype(np.int32))
    power = [image_power(batch, data.pixels) for batch in search.batches(sample)]
    noise = jnp.maximum(jnp.mean(jnp.stack(power), axis=0), 1e-6)
    noise = noise.at[0].set(noise[1])
    # Power of images is noise and signal; what the maps leave over is noise.
    first = search(sample, noise)
    number = np.bincount(data.pixels.shell, data.pixels.weight, data.pixels.max_shell + 1)
    share = jnp.asarray(first.residual) / jnp.maximum(
        jnp.asarray(number, jnp.float32) * len(sample), 1
    )
    noise = noise * jnp.where(jnp.asarray(number) > 0, jnp.clip(share, 0.1, 2), 1)
    seen = search(np.arange(len(data), dtype=np.int32), noise)
    return seen.rotation, seen.shift * sizes[:, None], seen.latent


def _of_all_tilts(
    run: Run,
    data: PreparedImages,
    maps: Maps,
    series: Series,
    rotation: np.ndarray,
    shift: np.ndarray,
    latent: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Improve poses and latents found in first images by all images of the particles.

    **Returns:** rotations and shifts (Å) of all images, latents a row a particle.
    """
    bounds = _bounds(run, data)
    setting = Setting(
        data, bounds.radius, bounds.reach, 1, bounds.symmetry, _BATCH, 0, lambda *_: None
    )
    size, volumes = setting.pixel_size, np.asarray(maps.model)
    deviation = np.asarray(1 / np.sqrt(maps.prior))
    poses = poses_at(rotation, (shift - series.shift[series.reference]) / size)
    noise = setting.image_power()
    for _ in range(_ROUNDS):
        begin = latent, deviation
        poses = refined_by_all(setting, series, poses, volumes, begin, noise, bounds.high)
        latent = np.asarray(poses.latent) * deviation
        rotation, shift = spread_poses(series, poses, size)
        noise = noise_beside(at_poses(data, rotation, shift), maps.model[0])
    return rotation, shift, latent


def _maps(run: Run, volumes: np.ndarray) -> Maps:
    """Choose maps along the latents of the run."""
    model = jnp.asarray(volumes)
    dimensions = len(volumes) - 1
    if dimensions == 0:
        return Maps(model, model, jnp.zeros(0))
    z = np.asarray(run.latents().mean, np.float32)
    shown, _ = typical_maps(volumes, z, _CLASSES)
    variance = np.maximum(z.var(axis=0) + z.mean(axis=0) ** 2, 1e-12)
    return Maps(model, jnp.asarray(shown), jnp.asarray(1 / variance, jnp.float32))


def _bounds(run: Run, data: PreparedImages) -> Bounds:
    """Read where the run looked for poses, and how far its half maps agree."""
    pixels, box = data.pixels, data.box
    radius = float(run.config.get("particle_radius") or 0.31 * box)
    low = int(np.clip(round(_LOW_SHELL * box / (3.2 * radius)), 3, pixels.max_shell))
    last = crossing(next(iter(read_curves(run.path / "fsc.txt")[1].values())), 0.5)
    reliable = pixels.max_shell if last is None else int(last) + 2
    high = int(np.clip(reliable, low, pixels.max_shell))
    reach = float(run.config.get("shift_reach") or box / 8)
    symmetry = str(run.config.get("abinitio", {}).get("symmetry", "C1"))
    return Bounds(low, high, radius, reach, symmetry if run.config.get("zdim") == 0 else "C1")

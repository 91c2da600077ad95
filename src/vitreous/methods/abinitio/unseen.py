"""Poses and latents of images that a run has never seen: a search over all poses of its maps."""

import logging
import os
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vitreous.errors import InputError
from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.geometry.rotations import AnyArray
from vitreous.geometry.shells import shell_sum
from vitreous.geometry.small_matrices import solve_positive
from vitreous.imaging.fourier_grid import volume_to_grid
from vitreous.imaging.slicing import slice_grid
from vitreous.methods.abinitio.assignment import everywhere
from vitreous.methods.abinitio.decode import MAPS_FILE
from vitreous.methods.abinitio.exhaustive import (
    order_for_shell,
    shift_grid,
    shift_step,
    trial_grid,
    trials,
)
from vitreous.methods.abinitio.reference import references_grid, slices_of
from vitreous.particles import ImageSource
from vitreous.particles.loader import PreparedImages
from vitreous.particles.order import epoch_plan
from vitreous.particles.prepare import Batch
from vitreous.reconstruction.curves import read_curves
from vitreous.reconstruction.fsc import crossing
from vitreous.reconstruction.pose_refinement import grid_predictor, refine_poses
from vitreous.reconstruction.weighed import image_power, shift_phases, weigh
from vitreous.training.inputs import DataOptions, prepared_images, read_checked
from vitreous.training.run import Latents, Run
from vitreous.training.unseen import Unseen, check_box

logger = logging.getLogger(__name__)

_BATCH, _SAMPLE = 64, 512
# Shells of the grid's scores in a box of 32 that a particle fills to 62 %, and how many maps a
# run with latents is represented by.
_LOW_SHELL, _CLASSES = 7, 5
_STEPS, _KEPT = 5, 6


class Maps(NamedTuple):
    """Hold what images are compared with: the linear model, and maps along its latents."""

    model: Float[Array, "k n n n"]
    shown: Float[Array, "c n n n"]
    prior: Float[Array, " d"]


class Seen(NamedTuple):
    """Hold pose (shift in pixels), score and latent of each image; residual power by shell."""

    rotation: Float[AnyArray, "b 3 3"]
    shift: Float[AnyArray, "b 2"]
    score: Float[AnyArray, " b"]
    latent: Float[AnyArray, "b d"]
    residual: Float[AnyArray, " shells"]


def evaluate(
    run: Run, particles: str | os.PathLike, data: DataOptions, epoch: int | None = None
) -> Unseen:
    """Find poses of new images, and latents if the run has some: what the registry asks for.

    **Arguments:** `data`: how images are read; contrast and normalisation are the run's.
    `epoch`: not used: a run keeps its last maps only.

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
    prepared = prepared_images(
        table, source, data, pixels, run.config["contrast"], run.config["normalization"]
    )
    with np.load(file, allow_pickle=False) as stored:
        maps = _maps(run, stored["volumes"])
    rotation, shift, latent = pose_images(run, prepared, maps)
    found = table.replace(rotation=rotation, shift=shift)
    return Unseen(found, Latents(latent) if latent.shape[1] else None, has_found_poses=True)


def pose_images(
    run: Run, data: PreparedImages, maps: Maps
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Search all poses of all images.

    **Returns:** rotations, shifts in Å, latents.
    """
    search = _Search(run, data, maps)
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
    sizes = np.asarray(data.table.pixel_size, np.float32)
    return seen.rotation, seen.shift * sizes[:, None], seen.latent


def _maps(run: Run, volumes: np.ndarray) -> Maps:
    """Choose maps along the latents: those of images evenly spread over the main component."""
    model = jnp.asarray(volumes)
    dimensions = len(volumes) - 1
    if dimensions == 0:
        return Maps(model, model, jnp.zeros(0))
    z = np.asarray(run.latents().mean, np.float32)
    _, _, axes = np.linalg.svd(z - z.mean(axis=0), full_matrices=False)
    order = np.argsort(z @ axes[0])
    places = order[((np.arange(_CLASSES) + 0.5) / _CLASSES * len(z)).astype(int)]
    shown = model[0][None] + jnp.einsum("cd,dxyz->cxyz", jnp.asarray(z[places]), model[1:])
    variance = np.maximum(z.var(axis=0) + z.mean(axis=0) ** 2, 1e-12)
    return Maps(model, shown, jnp.asarray(1 / variance, jnp.float32))


class _Search:
    """Search poses batch by batch, with everything that does not change laid out once."""

    def __init__(self, run: Run, data: PreparedImages, maps: Maps) -> None:
        self.data, self.maps = data, maps
        pixels, box = data.pixels, data.box
        radius = float(run.config.get("particle_radius") or 0.31 * box)
        low = int(np.clip(round(_LOW_SHELL * box / (3.2 * radius)), 3, pixels.max_shell))
        fsc = next(iter(read_curves(run.path / "fsc.txt")[1].values()))
        last = crossing(fsc, 0.5)
        reliable = pixels.max_shell if last is None else int(last) + 2
        self.low = pixels.count_up_to(low)
        self.high = pixels.count_up_to(int(np.clip(reliable, low, pixels.max_shell)))
        order = order_for_shell(low, box, radius)
        reach = float(run.config.get("shift_reach") or box / 8)
        rotation, neighbours = (jnp.asarray(part) for part in trial_grid(order))
        slices = slices_of(maps.shown, rotation, pixels, self.low)
        shifts = jnp.asarray(shift_grid(reach, shift_step(box, low)))
        self.tried = trials(rotation, slices, shifts)
        self.neighbours = neighbours

    def batches(self, rows: np.ndarray):
        return self.data.batches(epoch_plan(rows, min(_BATCH, len(rows))))

    def __call__(self, rows: np.ndarray, noise: Float[Array, " shells"]) -> Seen:
        parts = []
        residual = np.zeros(self.data.pixels.max_shell + 1, np.float32)
        for batch in self.batches(rows):
            seen = _pose(
                batch,
                self.maps,
                self.tried,
                self.neighbours,
                noise,
                self.data.pixels,
                self.low,
                self.high,
            )
            counted = np.asarray(batch.weight) > 0
            parts.append([np.asarray(leaf)[counted] for leaf in seen[:-1]])
            residual += np.asarray(seen.residual)
        rotation, shift, score, latent = (
            np.concatenate([part[i] for part in parts]) for i in range(4)
        )
        return Seen(rotation, shift, score, latent, residual)


@partial(jax.jit, static_argnames=("pixels", "low", "high"))
def _pose(batch: Batch, maps: Maps, tried, neighbours, noise, pixels, low: int, high: int) -> Seen:
    near = weigh(batch, pixels, noise, low)
    grid = references_grid(maps.shown)
    poses = everywhere(near, tried, neighbours, pixels, len(maps.shown))
    rough = refine_poses(grid_predictor(grid, pixels, low), near, poses, pixels, _STEPS)
    fine = weigh(batch, pixels, noise, high)
    kept = rough.best(_KEPT).poses
    refined = refine_poses(grid_predictor(grid, pixels, high), fine, kept, pixels, _STEPS).best(1)
    rotation, shift = refined.poses.rotation[:, 0], refined.poses.shift[:, 0]
    frequency = jnp.asarray(pixels.frequency[:high])
    views = jnp.stack([slice_grid(volume_to_grid(v, 2.0), rotation, frequency) for v in maps.model])
    data = fine.data * shift_phases(shift, pixels, high)
    latent = _latent(views, data, fine.power, maps.prior)
    seen = views[0] + jnp.einsum("kbp,bk->bp", views[1:], latent.astype(views.dtype))
    cross = seen.real * data.real + seen.imag * data.imag
    left = fine.power * (seen.real**2 + seen.imag**2) - 2 * cross
    whole = weigh(batch, pixels, noise, len(pixels)).square
    left = jnp.sum(whole.at[:, :high].add(left), axis=0)
    residual = shell_sum(left[None], jnp.asarray(pixels.shell), pixels.max_shell + 1)[0]
    return Seen(rotation, shift, refined.poses.score[:, 0], latent, residual)


def _latent(views, data, power, prior) -> Float[Array, "b d"]:
    """Solve for the latents that explain images best, drawn to 0 by their prior."""
    d = len(views) - 1
    if d == 0:
        return jnp.zeros((data.shape[0], 0))

    def product(first, second):
        return jnp.sum(first.real * second.real + first.imag * second.imag, axis=-1)

    weighed = views * power[None].astype(views.dtype)
    rows = [[product(weighed[i + 1], views[j + 1]) for j in range(d)] for i in range(d)]
    matrix = jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)
    right = jnp.stack([product(views[i + 1], data - weighed[0]) for i in range(d)], axis=-1)
    return solve_positive(matrix + jnp.diag(prior)[None], right[..., None])[..., 0]

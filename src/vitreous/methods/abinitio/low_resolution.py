"""From nothing to a map of a few shells: expectation–maximisation over all poses.

Every image counts at every rotation and shift of a grid in proportion to its posterior there;
the grid is turned at random each time, likelihoods are sharpened slowly, shells come one by one.
Begun from images at random poses, several times; images that took no part choose between starts.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.geometry.point_groups import point_group
from vitreous.geometry.rotations import random_rotations
from vitreous.geometry.shells import shell_sum
from vitreous.methods.abinitio.exhaustive import (
    SliceEvidence,
    Trials,
    add_softly,
    no_evidence,
    trials,
)
from vitreous.methods.abinitio.orientations import (
    order_for_shell,
    shift_grid,
    shift_step,
    turned,
    unit_grid,
)
from vitreous.methods.abinitio.reference import (
    MapSums,
    centre_of_density,
    maps_by_power,
    slices_of,
    sums_of_slices,
)
from vitreous.methods.abinitio.setting import Setting
from vitreous.particles.prepare import Batch
from vitreous.particles.processes import sum_over_processes
from vitreous.reconstruction.weighed import weigh


class Estimate(NamedTuple):
    """Hold maps, noise power by shell, and the mean log evidence of the images last seen."""

    volumes: Float[Array, "k n n n"]
    noise: Float[Array, " shells"]
    evidence: float = -np.inf
    at_edge: float = 0.0


@dataclass(frozen=True)
class Stage:
    """Say what some iterations do: outermost shell (of a particle that fills 62 % of the box),
    images a time, sharpness of the posterior, how many."""

    shell: int
    images: int
    sharpness: float
    iterations: int


# What every start goes through.
STARTS = (Stage(4, 400, 0.3, 5), Stage(5, 600, 0.5, 5), Stage(6, 1000, 0.6, 5))


@partial(jax.jit, static_argnames=("pixels", "count"), donate_argnums=0)
def _add(
    total: SliceEvidence,
    batch: Batch,
    tried: Trials,
    noise: Float[Array, " shells"],
    sharpness: Float[Array, ""],
    pixels: FourierPixels,
    count: int,
) -> SliceEvidence:
    weighed = weigh(batch, pixels, noise, count)
    return add_softly(total, weighed, tried, pixels, sharpness, batch.weight)


@partial(jax.jit, static_argnames=("pixels", "count"))
def _residual_power(
    total: SliceEvidence,
    tried: Trials,
    noise: Float[Array, " shells"],
    images: Float[Array, ""],
    pixels: FourierPixels,
    count: int,
) -> Float[Array, " shells"]:
    """Return the power that the posterior mean image leaves over, shell by shell."""
    cross = jnp.sum(tried.slices * total.numerator, axis=0)
    cross = cross[:count] + cross[count:]
    model = jnp.sum(tried.square * total.weight, axis=0)
    left = total.square - 2 * cross + model
    shell, size = pixels.shell[:count], pixels.weight[:count]
    shells = pixels.max_shell + 1
    sums = shell_sum(left[None], jnp.asarray(shell), shells)[0]
    number = np.bincount(shell, size, shells)[:shells].astype(np.float32)
    share = sums / jnp.maximum(jnp.asarray(number) * images, 1)
    return jnp.where(jnp.asarray(number > 0), noise * jnp.clip(share, 0.2, 2.0), noise)


class _Round:
    """One look at some images with one grid of poses."""

    def __init__(self, setting: Setting, estimate: Estimate, shell: int, key: jax.Array) -> None:
        self.setting, self.pixels = setting, setting.pixels
        volumes, self.noise = setting.data.place((estimate.volumes, estimate.noise))
        self.shell = shell
        self.count = self.pixels.count_up_to(shell)
        grid = unit_grid(order_for_shell(shell, setting.box, setting.radius), setting.alike)
        rotation = turned(grid, key, point_group(setting.alike))
        shifts = shift_grid(setting.reach, shift_step(setting.box, shell))
        slices = slices_of(volumes, rotation, self.pixels, self.count)
        self.tried = trials(rotation, slices, jnp.asarray(shifts))

    def look(self, rows: Int[np.ndarray, " m"], sharpness: float) -> SliceEvidence:
        total = self.setting.data.place(no_evidence(self.tried))
        sharp = jnp.asarray(sharpness, jnp.float32)
        for part in self.setting.shared(rows):
            total = _add(total, part.batch, self.tried, self.noise, sharp, self.pixels, self.count)
        return sum_over_processes(total)

    def maps(self, total: SliceEvidence, images: int) -> Estimate:
        setting = self.setting
        rotation, classes = self.tried.rotation, setting.classes
        sums = symmetric_sums(setting, rotation, total.numerator, total.weight, classes)
        volumes = maps_by_power(sums, setting.mask, self.shell + 1)
        if setting.centres is None:
            volumes = recentred(volumes, setting.copies())
        number = jnp.asarray(images, jnp.float32)
        noise = _residual_power(total, self.tried, self.noise, number, self.pixels, self.count)
        evidence, edge = float(total.evidence) / images, float(total.edge) / images
        return Estimate(volumes, noise, evidence, edge)


def symmetric_sums(
    setting: Setting,
    rotation: Float[Array, "q 3 3"],
    numerator: Float[Array, "cq pp"],
    weight: Float[Array, "cq p"],
    count: int,
) -> MapSums:
    """Bring slices together in each of `count` maps, at all copies of their rotations."""
    parts = [
        sums_of_slices(
            jnp.einsum("qij,jk->qik", rotation, copy, precision="highest"),
            numerator,
            weight,
            setting.pixels,
            count,
        )
        for copy in jnp.asarray(setting.copies(), jnp.float32)
    ]
    return jax.tree.map(lambda *leaves: sum(leaves[1:], leaves[0]), *parts)


def recentred(
    volumes: Float[Array, "k n n n"], copies: Float[np.ndarray, "g 3 3"]
) -> Float[Array, "k n n n"]:
    """Bring the density of the mean map back to the centre, by whole voxels.

    **Arguments:** `copies`: rotations of the point group, whose axes the centre must stay on.
    """
    offset = copies.mean(axis=0) @ centre_of_density(np.asarray(volumes).mean(axis=0))
    whole = tuple(round(-x) for x in offset[::-1].tolist())
    return jnp.roll(volumes, whole, axis=(1, 2, 3)) if any(whole) else volumes


def random_start(setting: Setting, rows: Int[np.ndarray, " m"], key: jax.Array) -> Estimate:
    """Make maps of images at random poses: a blob of about the right size and power."""
    shell = setting.shell(STARTS[0].shell)
    pixels, count = setting.pixels, setting.pixels.count_up_to(shell)
    noise = setting.image_power()
    volumes = []
    for mine in np.array_split(rows, setting.classes):
        key, draw = jax.random.split(key)
        planes, weights = [], []
        for batch in setting.batches(mine):
            weighed = weigh(batch, pixels, noise, count)
            planes.append(jnp.concatenate([weighed.data.real, weighed.data.imag], axis=-1))
            weights.append(weighed.power)
        numerator, weight = jnp.concatenate(planes), jnp.concatenate(weights)
        turns = random_rotations(draw, len(numerator))
        sums = symmetric_sums(setting, turns, numerator, weight, count=1)
        volumes.append(maps_by_power(sums, setting.mask, shell + 1)[0])
    return Estimate(jnp.stack(volumes), noise)


def climb(
    setting: Setting,
    estimate: Estimate,
    rows: Int[np.ndarray, " m"],
    stages: tuple[Stage, ...],
    seed: tuple[int, ...],
    phase: str,
) -> Estimate:
    """Go through stages of expectation–maximisation.

    **Arguments:** `rows`: of the images that may be used; `seed`: of their order and the grids.
    """
    total = sum(stage.iterations for stage in stages)
    done = 0
    for stage in stages:
        shell = setting.shell(stage.shell)
        for _ in range(stage.iterations):
            rng = np.random.default_rng((*seed, done))
            some = rng.permutation(rows)[: stage.images]
            key = jax.random.key(int(rng.integers(1 << 31)))
            look = _Round(setting, estimate, shell, key)
            estimate = look.maps(look.look(some, stage.sharpness), len(some))
            done += 1
            words = f"{shell} shells, log evidence {estimate.evidence:.2f} an image"
            setting.report(phase, done, total, words)
    return estimate


def held_out_evidence(
    setting: Setting, estimate: Estimate, rows: Int[np.ndarray, " m"], shell: int, seed: int
) -> float:
    """Return the mean log evidence of images that took no part."""
    look = _Round(setting, estimate, shell, jax.random.key(seed))
    return float(look.look(rows, 1.0).evidence) / len(rows)

"""One pass over images with a good reference: the best few poses of each, and what they add.

Poses come from the whole grid of rotations, or from those of the pass before; either way they are
refined by Gauss–Newton steps. The kept ones share an image by their likelihood.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.geometry.shells import shell_sum
from vitreous.imaging.fourier_grid import FourierGrid
from vitreous.imaging.slicing import rotated_frequencies, sample_grid
from vitreous.methods.abinitio.exhaustive import Trials, promising, score_all
from vitreous.methods.abinitio.reference import add_slices
from vitreous.particles.prepare import Batch
from vitreous.reconstruction.pose_refinement import (
    Poses,
    Refined,
    draw_poses,
    grid_predictor,
    likelihood_scores,
    refine_poses,
)
from vitreous.reconstruction.weighed import Weighed, shift_phases, weigh

# Poses an image keeps, and those that are looked at on the way: of the grid, and after a
# refinement with the grid's band.
KEPT = 3
# Poses drawn from an image's posterior, at all of which it goes into the map: one pose an image
# would sharpen the map with its own noise.
_DRAWS = 6
_ON_GRID, _REFINED = 18, 6
_STEPS_FIRST, _STEPS_LOW, _STEPS_HIGH, _STEPS_LOCAL = 2, 3, 5, 4


class Gathered(NamedTuple):
    """Hold what a pass adds up: map sums, and residual power and pixel numbers by shell."""

    table: Float[Array, "rows channels"]
    residual: Float[Array, " shells"]
    images: Float[Array, ""]


class Bands(NamedTuple):
    """Say how many pixels take part (hashable): in the first steps away from the grid, whose
    basins must be wide; in the grid's scores; in the final poses."""

    first: int
    low: int
    high: int


def _gather(
    total: Gathered,
    batch: Batch,
    refined: Refined,
    grid: FourierGrid,
    noise,
    pixels,
    count,
    copies,
    key,
) -> Gathered:
    """Insert a batch at draws from its posterior, and measure what the best pose leaves over."""
    whole = weigh(batch, pixels, noise, len(pixels))
    b, g = len(batch.weight), len(copies)
    # Every copy of a symmetric particle is drawn equally often.
    draws = -(-_DRAWS // g) * g
    drawn = draw_poses(refined, key, draws)
    moved = whole.data[:, None] * shift_phases(drawn.shift, pixels, len(pixels))
    numerator = (moved / draws).reshape(b * draws, -1)
    weight = jnp.repeat(whole.power / draws, draws, axis=0)
    element = jnp.tile(copies, (draws // g, 1, 1))
    turned = jnp.einsum("bdij,djk->bdik", drawn.rotation, element, precision="highest")
    turned = turned.reshape(b * draws, 3, 3)
    group = drawn.state.reshape(-1)
    table = add_slices(total.table, turned, numerator, weight, group, pixels)
    poses = refined.poses
    predict = grid_predictor(grid, pixels, count)
    value, _ = predict(poses.rotation[:, 0], poses.state[:, 0])
    near = whole.data[:, :count] * shift_phases(poses.shift[:, 0], pixels, count)
    cross = value.real * near.real + value.imag * near.imag
    square = value.real**2 + value.imag**2
    left = whole.square.at[:, :count].add(whole.power[:, :count] * square - 2 * cross)
    shells = pixels.max_shell + 1
    power = shell_sum(jnp.sum(left, axis=0)[None], jnp.asarray(pixels.shell), shells)[0]
    return Gathered(table, total.residual + power, total.images + jnp.sum(batch.weight))


@partial(jax.jit, static_argnames=("pixels", "bands", "classes"), donate_argnums=0)
def search_poses(
    total: Gathered,
    batch: Batch,
    tried: Trials,
    neighbours: Int[Array, "q m"],
    grid: FourierGrid,
    noise: Float[Array, " shells"],
    copies: Float[Array, "g 3 3"],
    key: Key[Array, ""],
    pixels: FourierPixels,
    bands: Bands,
    classes: int,
) -> tuple[Gathered, Poses]:
    """Look everywhere: the whole grid, then refinement in two bands."""
    low = weigh(batch, pixels, noise, bands.low)
    poses = everywhere(low, tried, neighbours, pixels, classes)
    first = weigh(batch, pixels, noise, bands.first)
    wide = grid_predictor(grid, pixels, bands.first)
    poses = refine_poses(wide, first, poses, pixels, _STEPS_FIRST).poses
    near = grid_predictor(grid, pixels, bands.low)
    poses = refine_poses(near, low, poses, pixels, _STEPS_LOW).best(_REFINED).poses
    refined = _finish(batch, poses, grid, noise, pixels, bands, _STEPS_HIGH)
    total = _gather(total, batch, refined, grid, noise, pixels, bands.high, copies, key)
    return total, refined.poses


@partial(jax.jit, static_argnames=("pixels", "bands", "classes"), donate_argnums=0)
def follow_poses(
    total: Gathered,
    batch: Batch,
    poses: Poses,
    grid: FourierGrid,
    noise: Float[Array, " shells"],
    copies: Float[Array, "g 3 3"],
    key: Key[Array, ""],
    pixels: FourierPixels,
    bands: Bands,
    classes: int,
) -> tuple[Gathered, Poses]:
    """Look only around the poses of the pass before, there at all maps."""
    if classes > 1:
        low = weigh(batch, pixels, noise, bands.low)
        poses = _any_map(low, poses, grid, pixels, bands.low, classes)
    refined = _finish(batch, poses, grid, noise, pixels, bands, _STEPS_LOCAL)
    total = _gather(total, batch, refined, grid, noise, pixels, bands.high, copies, key)
    return total, refined.poses


def everywhere(
    weighed: Weighed,
    tried: Trials,
    neighbours: Int[Array, "q m"],
    pixels: FourierPixels,
    classes: int,
) -> Poses:
    """Find the most promising poses of a grid, no two of them neighbours."""
    scores = score_all(weighed, tried, pixels)
    # Of a highly symmetric molecule there is no more to try.
    count = min(_ON_GRID, classes * len(tried.rotation))
    place, shift, score = promising(scores, neighbours, classes, count)
    q = len(tried.rotation)
    state = (place // q).astype(jnp.int32)
    return Poses(tried.rotation[place % q], tried.shift[shift], state, score)


def _any_map(
    weighed: Weighed, poses: Poses, grid: FourierGrid, pixels: FourierPixels, count: int, maps: int
) -> Poses:
    """Compare images with every map at their poses; keeps as many poses as there were, and one."""
    b, c = poses.score.shape
    k = jnp.asarray(pixels.frequency[:count]) * np.float32(grid.shape.box / grid.box)
    coordinates = rotated_frequencies(poses.rotation.reshape(-1, 3, 3), k)

    def compared(state):
        slices = sample_grid(grid, coordinates, jnp.full((b * c,), state, jnp.int32))
        return likelihood_scores(weighed, slices.reshape(b, c, count), poses.shift, pixels)

    score = jax.lax.map(compared, jnp.arange(maps, dtype=jnp.int32))
    # Poses that ran into a better one came with a score far below it: they are not looked at.
    alive = poses.score > poses.score[:, :1] - 1e3
    score = jnp.where(alive[None], score, -1e6).transpose(1, 2, 0).reshape(b, c * maps)
    best, place = jax.lax.top_k(score, c + 1)
    at = place // maps
    return Poses(
        jnp.take_along_axis(poses.rotation, at[..., None, None], axis=1),
        jnp.take_along_axis(poses.shift, at[..., None], axis=1),
        (place % maps).astype(jnp.int32),
        best,
    )


def _finish(batch, poses: Poses, grid, noise, pixels, bands: Bands, steps: int) -> Refined:
    high = weigh(batch, pixels, noise, bands.high)
    predict = grid_predictor(grid, pixels, bands.high)
    refined = refine_poses(predict, high, poses, pixels, steps)
    kept = refined.best(min(KEPT, poses.score.shape[1]))
    return kept._replace(poses=_apart(kept.poses))


def _apart(poses: Poses) -> Poses:
    """Give poses that ran into a better one no share of the image."""
    turn = jnp.einsum("bcij,bdij->bcd", poses.rotation, poses.rotation)
    move = jnp.linalg.norm(poses.shift[:, :, None] - poses.shift[:, None], axis=-1)
    # Traces: 3 − tr is twice 1 − cos; within 3 degrees and half a pixel two are one.
    same = (turn > 3 - 2 * (1 - 0.99863)) & (move < 0.5)
    same = same & (poses.state[:, :, None] == poses.state[:, None])
    number = jnp.arange(poses.score.shape[1])
    earlier = jnp.any(same & (number[None, :, None] > number[None, None]), axis=2)
    return poses._replace(score=jnp.where(earlier, poses.score - 1e4, poses.score))

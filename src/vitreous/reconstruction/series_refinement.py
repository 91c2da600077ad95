"""Poses of tilt series improved particle by particle, whose images turn and move as one.

How the stage stood between two images of a particle is known; a particle has six unknowns, its
rotation in one reference view and where it lies there, in depth as well; and its latent, if there
are conformations. Damped Gauss–Newton steps solve the normal equations of all its images together.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.geometry.rotations import rotation_vector_to_matrix
from vitreous.reconstruction.pose_refinement import (
    DAMPING,
    LandscapePredictor,
    damped_step,
    normal_equations,
)
from vitreous.reconstruction.weighed import Weighed


class SeriesPoses(NamedTuple):
    """Hold one pose a particle: `rotation` from volume to reference view, and where the particle
    lies in the frame of that view, pixels; `score` is the log likelihood ratio of its images,
    `latent` its conformation in standard deviations, of no dimension if there is but one."""

    rotation: Float[Array, "g 3 3"]
    offset: Float[Array, "g 3"]
    score: Float[Array, " g"]
    latent: Float[Array, "g d"]


class Views(NamedTuple):
    """Say how each image was taken: `turn` from the reference view of its particle, and `shift`
    (pixels) at which a particle of offset 0 lies."""

    turn: Float[Array, "b 3 3"]
    shift: Float[Array, "b 2"]


def image_poses(
    poses: SeriesPoses, views: Views
) -> tuple[Float[Array, "b 3 3"], Float[Array, "b 2"]]:
    """Return rotation and shift (pixels) of every image, those of a particle side by side."""
    size = len(views.turn) // len(poses.rotation)
    rotation, offset = (jnp.repeat(x, size, axis=0) for x in (poses.rotation, poses.offset))
    turned = jnp.einsum("bij,bjk->bik", views.turn, rotation, precision="highest")
    moved = jnp.einsum("bij,bj->bi", views.turn[:, :2], offset, precision="highest")
    return turned, views.shift + moved


def refine_series(
    predict: LandscapePredictor,
    weighed: Weighed,
    poses: SeriesPoses,
    views: Views,
    pixels: FourierPixels,
    steps: int,
    spread: float | Float[Array, ""],
) -> SeriesPoses:
    """Take Gauss–Newton steps from pose and latent of every particle, which move together; each
    keeps the best place it saw.

    **Arguments:** `predict`: see `pose_refinement.landscape_predictor`. `weighed`: images of a
    particle side by side, as many of each (rows that fill up are 0). `poses`: their scores are not
    used. `spread`: expected size of offsets, pixels, which
    holds the depth of particles that hardly tilt.
    """
    groups, count = len(poses.rotation), weighed.data.shape[-1]
    size = len(views.turn) // groups
    d = poses.latent.shape[1]
    held = jnp.concatenate([jnp.zeros(3), jnp.full(3, 1 / spread**2), jnp.ones(d)])
    # A turn ω of the particle is `D ω` in an image that sees it turned by D; moves are cut to two.
    chain = jnp.zeros((len(views.turn), 5 + d, 6 + d))
    chain = chain.at[:, :3, :3].set(views.turn).at[:, 3:5, 3:6].set(views.turn[:, :2])
    chain = chain.at[:, 5:, 6:].set(jnp.eye(d))

    def body(_, tried: _Tried) -> _Tried:
        rotation, shift = image_poses(tried.poses, views)
        slices = predict(rotation, jnp.repeat(tried.poses.latent, size, axis=0))
        value, slope, along = (x[:, None, :count] for x in slices)
        seen = normal_equations(value, slope, weighed, shift[:, None], pixels, along)
        normal = jnp.einsum(
            "bia,bij,bjc->bac", chain, seen.normal[:, 0], chain, precision="highest"
        )
        gradient = jnp.einsum("bia,bi->ba", chain, seen.gradient[:, 0], precision="highest")
        likelihood = jnp.sum(seen.likelihood.reshape(groups, size), axis=1)
        offset, latent = tried.poses.offset, tried.poses.latent
        pull = held[None] * jnp.concatenate([jnp.zeros_like(offset), offset, latent], axis=-1)
        drawn = jnp.sum(offset**2, axis=-1) / spread**2 + jnp.sum(latent**2, axis=-1)
        score = likelihood - 0.5 * drawn
        here = _Place(
            tried.poses._replace(score=score),
            jnp.sum(normal.reshape(groups, size, 6 + d, 6 + d), axis=1) + jnp.diag(held)[None],
            jnp.sum(gradient.reshape(groups, size, 6 + d), axis=1) - pull,
        )
        better = score > tried.best.poses.score
        damping = jnp.clip(jnp.where(better, 0.3, 6.0) * tried.damping, 1e-3, 1e3)

        def pick(new: Array, old: Array) -> Array:
            return jnp.where(better.reshape(-1, *(1,) * (new.ndim - 1)), new, old)

        best = jax.tree.map(pick, here, tried.best)
        step = damped_step(best.normal, best.gradient, damping, uncut=d)
        turn = rotation_vector_to_matrix(jnp.rad2deg(step[:, :3]))
        turned = jnp.einsum("gij,gjk->gik", turn, best.poses.rotation, precision="highest")
        moved, bent = best.poses.offset + step[:, 3:6], best.poses.latent + step[:, 6:]
        following = SeriesPoses(turned, moved, score, bent)
        return _Tried(following, best, damping)

    first = _Place(
        poses._replace(score=jnp.full(groups, -jnp.inf)),
        jnp.broadcast_to(jnp.eye(6 + d), (groups, 6 + d, 6 + d)),
        jnp.zeros((groups, 6 + d)),
    )
    start = _Tried(first.poses, first, jnp.full(groups, DAMPING))
    return jax.lax.fori_loop(0, steps, body, start).best.poses


class _Place(NamedTuple):
    """Poses, and the normal equations there."""

    poses: SeriesPoses
    normal: Float[Array, "g m m"]
    gradient: Float[Array, "g m"]


class _Tried(NamedTuple):
    """What a step carries: where to look next, the best place so far, the damping."""

    poses: SeriesPoses
    best: _Place
    damping: Float[Array, " g"]

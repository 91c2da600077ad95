"""Which hand has a map? Only a reference can say: both hands are laid over it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from vitreous.geometry.fourier import frequencies, half_plane_weights, half_space
from vitreous.geometry.rotations import random_rotations, rotation_vector_to_matrix
from vitreous.imaging.fourier_grid import volume_to_grid
from vitreous.imaging.slicing import read_window, trilinear_corners

# Shells of the coarse search, and of the fine one.
_COARSE, _FINE = 7, 14
_TRIALS, _KEPT, _STEPS = 4000, 6, 4


class HandScore(NamedTuple):
    """Hold the best correlation with the reference of a map and of its mirror image."""

    same: float
    mirror: float

    @property
    def is_clear(self) -> bool:
        """Whether one of them fits, and much better than the other."""
        return max(self) > 0.5 and abs(self.same - self.mirror) > 0.05


def compare_hands(
    volume: Float[Array, "n n n"], reference: Float[Array, "n n n"], key: jax.Array
) -> HandScore:
    """Turn a map and its mirror image over a reference of the same box and voxel size.

    Both must be centred, in any orientation. The search starts from the identity and random
    rotations at low resolution, and refines the best ones.

    **Returns:** the best correlations over shells 1 to 14.
    """
    grid = volume_to_grid(volume)
    target = half_space(reference)
    trials = jnp.concatenate([jnp.eye(3)[None], random_rotations(key, _TRIALS - 1)])
    best = []
    # Inverting a map through its centre conjugates its transform.
    for inverted in (False, True):
        rotation = _keep(trials, _scores(grid, target, trials, _COARSE, inverted))
        for step in range(_STEPS):
            near = _neighbours(rotation, 16.0 / 2**step, jax.random.fold_in(key, step))
            shells = _COARSE if step == 0 else _FINE
            rotation = _keep(near, _scores(grid, target, near, shells, inverted))
        best.append(float(_scores(grid, target, rotation, _FINE, inverted).max()))
    return HandScore(*best)


def _scores(grid, target, rotations, shells: int, inverted: bool) -> Float[Array, " r"]:
    """Correlate the turned map with the reference, for every rotation."""
    last = min(shells, (grid.box - 1) // 2)
    k = frequencies(grid.box, 3, half=True)
    radius = np.linalg.norm(k, axis=-1)
    inside = (radius > 0.5) & (radius < last + 0.5)
    weight = np.broadcast_to(half_plane_weights(grid.box), radius.shape)[inside]
    # Every shell counts alike: without that the few lowest ones decide alone.
    power = np.asarray(jnp.abs(target) ** 2)[inside]
    shell = np.rint(radius[inside]).astype(int)
    total = np.bincount(shell, weight * power)[shell]
    whitening = jnp.asarray(weight / np.maximum(total, 1e-30), jnp.float32)
    inside = np.flatnonzero(inside)
    return _score_jit(
        grid,
        target.reshape(-1)[inside],
        jnp.asarray(k.reshape(-1, 3)[inside]),
        whitening,
        rotations,
        inverted,
    )


def _correlate(
    grid, target: Complex[Array, " p"], k: Float[Array, "p 3"], weight, rotations, inverted: bool
):
    def one(rotation):
        turned = (rotation[None] * k[:, None, :]).sum(-1)
        mine = read_window(grid.values, trilinear_corners(turned, grid.shape))
        mine = mine.conj() if inverted else mine
        cross = jnp.sum(weight * (mine * target.conj()).real)
        power = jnp.sum(weight * jnp.abs(mine) ** 2) * jnp.sum(weight * jnp.abs(target) ** 2)
        return cross / jnp.sqrt(jnp.maximum(power, 1e-30))

    return jax.lax.map(one, rotations, batch_size=64)


_score_jit = jax.jit(_correlate, static_argnums=5)


def _keep(rotations, scores):
    return rotations[jax.lax.top_k(scores, _KEPT)[1]]


def _neighbours(rotation, angle: float, key) -> Float[Array, "r 3 3"]:
    """Turn each rotation a little, about random axes; the rotations themselves come first."""
    vectors = angle * jax.random.normal(key, (60, 3)) / 2
    turns = jnp.concatenate([jnp.eye(3)[None], rotation_vector_to_matrix(vectors)])
    product = (turns[:, None, :, :, None] * rotation[None, :, None, :, :]).sum(-2)
    return product.reshape(-1, 3, 3)

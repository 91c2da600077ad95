"""Which hand has a map? Only a reference can say: both hands are laid over it, any way round."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from vitreous.geometry.fourier import frequencies, half_plane_weights, half_space
from vitreous.geometry.rotations import random_rotations, rotation_vector_to_matrix
from vitreous.imaging.fourier_grid import FourierGrid, volume_to_grid
from vitreous.imaging.slicing import read_window, trilinear_corners

# Shells of the coarse search and of the fine one, with boxes that sample shifts finely enough.
_COARSE, _FINE = (7, 20), (10, 30)
_TRIALS, _KEPT, _NEIGHBOURS = 3000, 6, 30
_ANGLES = (10.0, 5.0, 2.5)


class HandScore(NamedTuple):
    """Hold the best correlation with the reference of a map and of its mirror image."""

    same: float
    mirror: float

    @property
    def is_clear(self) -> bool:
        """Whether one of them fits, and better than the other beyond doubt."""
        return max(self) > 0.5 and abs(self.same - self.mirror) > 0.04


def compare_hands(
    volume: Float[Array, "n n n"],
    reference: Float[Array, "n n n"],
    fsc: Float[Array, " shells"],
    key: jax.Array,
) -> HandScore:
    """Turn and move a map and its mirror image over a reference of the same box and voxel size.

    **Arguments:** `fsc`: of the map's halves; shells count by it, so that noise does not.

    The search starts from the identity and random rotations at low resolution and refines the
    best ones; all shifts are tried at once by Fourier transforms.

    **Returns:** the best correlations over shells 1 to 10, whitened by the reference.
    """
    grid, target, trials = _prepare(volume, reference, key)
    best = []
    # Inverting a map through its centre conjugates its transform.
    for inverted in (False, True):
        rotation = _best(trials, _scores(grid, target, fsc, trials, _COARSE, inverted))
        scores = jnp.zeros(1)
        for step, angle in enumerate(_ANGLES):
            near = _neighbours(rotation, angle, jax.random.fold_in(key, step))
            scores = _scores(grid, target, fsc, near, _FINE, inverted)
            rotation = _best(near, scores)
        best.append(float(scores.max()))
    return HandScore(*best)


@jax.jit
def _prepare(volume: Float[Array, "n n n"], reference: Float[Array, "n n n"], key: jax.Array):
    trials = jnp.concatenate([jnp.eye(3)[None], random_rotations(key, _TRIALS - 1)])
    return volume_to_grid(volume), half_space(reference), trials


@partial(jax.jit, static_argnames="search")
def _scores(
    grid: FourierGrid,
    target: Complex[Array, "n n h"],
    fsc: Float[Array, " shells"],
    rotations: Float[Array, "r 3 3"],
    search: tuple[int, int],
    inverted: bool | Array,
) -> Float[Array, " r"]:
    """Correlate the turned map with the reference at its best shift, for every rotation."""
    shells, box = search
    shells = min(shells, (grid.box - 1) // 2)
    k = frequencies(box, 3, half=True)
    radius = np.rint(np.linalg.norm(k, axis=-1)).astype(np.int32)
    place = np.flatnonzero((radius > 0) & (radius <= shells))
    k, shell = k.reshape(-1, 3)[place], radius.reshape(-1)[place]
    mates = np.broadcast_to(half_plane_weights(box), radius.shape).reshape(-1)[place]
    x, y, z = k.astype(np.int32).T
    wanted = target[z, y, x]
    power = jnp.zeros(shells + 1).at[shell].add(mates * jnp.abs(wanted) ** 2)
    # A few per cent for every shell: no weights at all would divide zero by zero.
    share = jnp.maximum(fsc[jnp.minimum(shell, len(fsc) - 1)], 0.03)
    whitening = share / jnp.maximum(power[shell], 1e-30)
    norm_wanted = jnp.sum(mates * whitening * jnp.abs(wanted) ** 2)

    def one(rotation: Float[Array, "3 3"]) -> Float[Array, ""]:
        turned = (rotation[None] * jnp.asarray(k)[:, None, :]).sum(-1)
        mine = read_window(grid.values, trilinear_corners(turned, grid.shape))
        mine = jnp.where(inverted, mine.conj(), mine)
        cross = mine.conj() * wanted * whitening.astype(mine.dtype)
        half = jnp.zeros(radius.size, cross.dtype).at[place].set(cross).reshape(radius.shape)
        # Values at all shifts: the inverse transform without its factor 1/N.
        shifted = jnp.fft.irfftn(half, s=(box,) * 3) * float(box**3)
        norm = jnp.sum(mates * whitening * jnp.abs(mine) ** 2) * norm_wanted
        return shifted.max() / jnp.sqrt(jnp.maximum(norm, 1e-30))

    return jax.lax.map(one, rotations, batch_size=16)


@jax.jit
def _best(rotations: Float[Array, "r 3 3"], scores: Float[Array, " r"]) -> Float[Array, "k 3 3"]:
    return rotations[jnp.argsort(-scores)[:_KEPT]]


@jax.jit
def _neighbours(
    rotation: Float[Array, "k 3 3"], angle: float | Array, key: jax.Array
) -> Float[Array, "r 3 3"]:
    """Turn each rotation a little, about random axes; the rotations themselves come first."""
    vectors = angle * jax.random.normal(key, (_NEIGHBOURS, 3)) / 2
    turns = jnp.concatenate([jnp.eye(3)[None], rotation_vector_to_matrix(vectors)])
    product = (turns[:, None, :, :, None] * rotation[None, :, None, :, :]).sum(-2)
    return product.reshape(-1, 3, 3)

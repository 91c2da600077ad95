"""Where a point that is seen came from: the inverse of a displacement field, without a network.

The consensus point `x` that lies at `y` in an image solves `x + δ(x, z) = y`. The fixed point
`x ← y − δ(x, z)` is its first step; what each step tells about the field's slope at a point then
speeds up the next (Broyden's method, which in three dimensions is Anderson's of depth 3), so that
steep fields, too, take few steps. Back-projection needs no inverse at all.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

# A step that makes the error so many times larger is taken back and halved.
_WORSE = 1.5
_SMALL = 1e-12


class Inverse(NamedTuple):
    """Hold consensus points, `(b, m, 3)` in Å; how far from `y` the field brings them (Å); and
    whether that is within the tolerance."""

    points: Float[Array, "b m 3"]
    error: Float[Array, "b m"]
    converged: Bool[Array, "b m"]


class _Search(NamedTuple):
    """Where each point is: place, what is left, and the estimated inverse slope of that."""

    place: Float[Array, "m 3"]
    left: Float[Array, "m 3"]
    slope: Float[Array, "m 3 3"]
    steps: Array


@eqx.filter_jit
def invert(
    field: Any,
    points: Float[Array, "m 3"],
    z: Float[Array, "b d"],
    tolerance: float = 1e-3,
    steps: int = 60,
) -> Inverse:
    """Find which consensus points lie at given places in images.

    **Arguments:** `field`: displacements `δ(points, z)`, Å, see `Deformation`. `points`: places
    `y` (Å from the box centre). `z`: one latent an image. `tolerance` (Å): a thousandth of a pixel
    is far more than any map needs. `steps`: the most taken.

    **Returns:** the points and, for each, whether it was found: no field that folds space over has
    an inverse everywhere.

    **Source:** Broyden (1965) "A class of methods for solving nonlinear simultaneous equations".
    """

    def one(latent: Float[Array, " d"]) -> tuple[Array, Array]:
        return _search(field, points, latent, tolerance, steps)

    found, error = jax.lax.map(one, z)
    return Inverse(found, error, error <= tolerance)


def _search(field: Any, y: Float[Array, "m 3"], z: Float[Array, " d"], tolerance, steps: int):
    def misfit(x: Float[Array, "m 3"]) -> Float[Array, "m 3"]:
        return x + field(x, z[None])[0] - y

    unit = jnp.broadcast_to(jnp.eye(3, dtype=y.dtype), (len(y), 3, 3))

    def go_on(state: _Search) -> Array:
        far = jnp.max(jnp.sum(state.left**2, axis=-1)) > tolerance**2
        return far & (state.steps < steps)

    def step(state: _Search) -> _Search:
        move = -_times(state.slope, state.left)
        place = state.place + move
        left = misfit(place)
        worse = _square(left) > _WORSE**2 * _square(state.left)
        # Halved towards where it came from, and the slope forgotten.
        half = state.place - 0.5 * state.left
        place = jnp.where(worse[:, None], half, place)
        left = jnp.where(worse[:, None], misfit(half), left)
        slope = _learnt(state.slope, place - state.place, left - state.left)
        slope = jnp.where(worse[:, None, None], unit, slope)
        return _Search(place, left, slope, state.steps + 1)

    start = _Search(y, misfit(y), unit, jnp.asarray(0))
    end = jax.lax.while_loop(go_on, step, start)
    return end.place, jnp.sqrt(_square(end.left))


def _learnt(
    slope: Float[Array, "m 3 3"], move: Float[Array, "m 3"], change: Float[Array, "m 3"]
) -> Float[Array, "m 3 3"]:
    """Correct the inverse slopes by what a move changed."""
    expected = _times(slope, change)
    row = jnp.sum(move[:, :, None] * slope, axis=1)
    size = jnp.sum(move * expected, axis=-1)
    usable = jnp.abs(size) > _SMALL
    factor = jnp.where(usable, 1 / jnp.where(usable, size, 1), 0)
    return slope + (factor[:, None] * (move - expected))[:, :, None] * row[:, None, :]


def _times(matrix: Float[Array, "m 3 3"], vector: Float[Array, "m 3"]) -> Float[Array, "m 3"]:
    return jnp.sum(matrix * vector[:, None, :], axis=-1)


def _square(vector: Float[Array, "m 3"]) -> Float[Array, " m"]:
    return jnp.sum(vector**2, axis=-1)

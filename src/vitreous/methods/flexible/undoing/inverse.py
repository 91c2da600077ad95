"""Where a point that is seen came from: the inverse of a displacement field, without a network.

The consensus point `x` that lies at `y` in an image solves `x + δ(x, z) = y`. The fixed point
`x ← y − δ(x, z)` finds it where the field is flat; with the field's own slope in each step
(Newton's method) it is found, in as few steps, where the field is steep, too. Back-projection needs
no inverse at all.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

# Steps that do not help are shortened to this share and tried again.
_SHORTER = 0.4
# What keeps a step finite where the field folds, as a share of a slope of 1.
_DAMPING = 1e-6


class Inverse(NamedTuple):
    """Hold consensus points, `(b, m, 3)` in Å; how far from `y` the field brings them (Å); and
    whether that is within the tolerance."""

    points: Float[Array, "b m 3"]
    error: Float[Array, "b m"]
    converged: Bool[Array, "b m"]


class _Search(NamedTuple):
    """Where points are, how far off, the step from there, and how much of it is taken next."""

    place: Float[Array, "m 3"]
    left: Float[Array, "m 3"]
    step: Float[Array, "m 3"]
    share: Float[Array, " m"]
    done: Array


@eqx.filter_jit
def invert(
    field: Any,
    points: Float[Array, "m 3"],
    z: Float[Array, "b d"],
    tolerance: float = 1e-3,
    steps: int = 60,
) -> Inverse:
    """Find which consensus points lie at given places in images.

    **Arguments:** `field`: displacements `δ(points, z)`, Å, each of its own point alone, see
    `Deformation`. `points`: places `y` (Å from the box centre). `z`: one latent an image.
    `tolerance` (Å): a thousandth of a pixel is far more than any map needs. `steps`: the most
    taken.

    **Returns:** the points and, for each, whether it was found: a field that folds space over has
    no inverse everywhere.
    """

    def one(latent: Float[Array, " d"]) -> tuple[Array, Array]:
        return _search(field, points, latent, tolerance, steps)

    found, error = jax.lax.map(one, z)
    return Inverse(found, error, error <= tolerance)


def _search(field: Any, y: Float[Array, "m 3"], z: Float[Array, " d"], tolerance, steps: int):
    def misfit(x: Float[Array, "m 3"]) -> Float[Array, "m 3"]:
        return x + field(x, z[None])[0] - y

    def towards(x: Float[Array, "m 3"]) -> tuple[Float[Array, "m 3"], Float[Array, "m 3"]]:
        """Return how far off points are, and Newton's step."""
        left, slope_along = jax.linearize(misfit, x)
        unit = jnp.eye(3, dtype=x.dtype)
        # Every point's displacement is its own: three directions tell all slopes.
        columns = [slope_along(jnp.broadcast_to(unit[k], x.shape)) for k in range(3)]
        return left, -_solved(columns, left)

    def go_on(state: _Search) -> Array:
        far = jnp.max(jnp.sum(state.left**2, axis=-1)) > tolerance**2
        return far & (state.done < steps)

    def move(state: _Search) -> _Search:
        place = state.place + state.share[:, None] * state.step
        left, step = towards(place)
        better = jnp.sum(left**2, axis=-1) < jnp.sum(state.left**2, axis=-1)
        share = jnp.where(better, 1.0, state.share * _SHORTER).astype(y.dtype)

        def kept(new: Float[Array, "m 3"], old: Float[Array, "m 3"]) -> Float[Array, "m 3"]:
            return jnp.where(better[:, None], new, old)

        return _Search(
            kept(place, state.place),
            kept(left, state.left),
            kept(step, state.step),
            share,
            state.done + 1,
        )

    left, step = towards(y)
    start = _Search(y, left, step, jnp.ones(len(y), y.dtype), jnp.asarray(0))
    end = jax.lax.while_loop(go_on, move, start)
    return end.place, jnp.sqrt(jnp.sum(end.left**2, axis=-1))


def _solved(columns: list[Float[Array, "m 3"]], right: Float[Array, "m 3"]) -> Float[Array, "m 3"]:
    """Solve 3 × 3 systems by Cramer's rule, damped where they are singular."""
    a, b, c = columns
    volume = jnp.sum(a * jnp.cross(b, c), axis=-1)
    safe = volume / (volume**2 + _DAMPING)
    faces = [jnp.cross(b, c), jnp.cross(c, a), jnp.cross(a, b)]
    parts = [jnp.sum(right * face, axis=-1) * safe for face in faces]
    return jnp.stack(parts, axis=-1)

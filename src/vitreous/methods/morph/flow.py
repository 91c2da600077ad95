"""The flow of a velocity field: points carried over time t ∈ [0, 1] by fixed-step integrators.

Each step is rematerialised when differentiated, so that memory does not grow with their number.
"""

from collections.abc import Sequence
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vitreous.methods.morph.velocity import Velocity

Scheme = Literal["rk4", "euler"]
# Points carried at a time outside training: bounds memory, and most maps need few pieces.
CHUNK = 1 << 16


def flow_step(
    velocity: Velocity,
    points: Float[Array, "m 3"],
    time: Float[Array, ""],
    step: Float[Array, ""],
    scheme: Scheme,
) -> Float[Array, "m 3"]:
    """Carry points over one step by classical Runge–Kutta or by the peer's Euler rule."""
    k1 = velocity(time, points)
    if scheme == "euler":
        return points + step * k1
    half = 0.5 * step
    k2 = velocity(time + half, points + half * k1)
    k3 = velocity(time + half, points + half * k2)
    k4 = velocity(time + step, points + step * k3)
    return points + (step / 6) * (k1 + 2 * k2 + 2 * k3 + k4)


def carry(
    velocity: Velocity,
    points: Float[Array, "m 3"],
    start: Float[Array, ""] | float,
    stop: Float[Array, ""] | float,
    steps: int,
    scheme: Scheme = "rk4",
) -> Float[Array, "m 3"]:
    """Carry points from one time to another, backwards too; differentiable.

    **Arguments:** `points` in Å. `steps`: equal steps between `start` and `stop`.
    """
    begin = jnp.asarray(start, points.dtype)
    step = (jnp.asarray(stop, points.dtype) - begin) / steps

    @jax.checkpoint
    def advance(x, i):
        return flow_step(velocity, x, begin + i * step, step, scheme), None

    return jax.lax.scan(advance, points, jnp.arange(steps, dtype=points.dtype))[0]


@partial(jax.jit, static_argnames=("steps", "scheme"))
def _carry_chunk(velocity, points, start, stop, steps, scheme):
    return carry(velocity, points, start, stop, steps, scheme)


@partial(jax.jit, static_argnames=("steps", "scheme"))
def _gradient_chunk(velocity, points, start, stop, steps, scheme):
    """Push the three unit vectors through the flow: the columns of F."""

    def go(x):
        return carry(velocity, x, start, stop, steps, scheme)

    columns = []
    for axis in range(3):
        unit = jnp.zeros_like(points).at[:, axis].set(1)
        columns.append(jax.jvp(go, (points,), (unit,))[1])
    return jnp.stack(columns, axis=-1)


def _in_chunks(function, points: np.ndarray) -> np.ndarray:
    """Apply a function of points piece by piece, the last padded to a power of two."""
    parts = []
    for first in range(0, len(points), CHUNK):
        part = points[first : first + CHUNK]
        size = min(CHUNK, 1 << max(6, (len(part) - 1).bit_length()))
        padded = np.zeros((size, 3), np.float32)
        padded[: len(part)] = part
        parts.append(np.asarray(function(jnp.asarray(padded)))[: len(part)])
    return np.concatenate(parts) if parts else np.zeros((0, 3), np.float32)


def carry_points(
    velocity: Velocity,
    points: Float[np.ndarray, "m 3"],
    times: Sequence[float],
    steps: int,
    scheme: Scheme = "rk4",
    start: float = 0.0,
) -> list[Float[np.ndarray, "m 3"]]:
    """Carry any number of points to each of several times in turn, on the host's account.

    **Arguments:** `times`: in the order of the way, each reached from the one before. `steps`:
    integration steps for a way of length 1; a shorter one takes its share, at least one.
    """
    found, here, x = [], start, np.asarray(points, np.float32)
    for stop in times:
        if stop != here:
            count = max(1, round(steps * abs(stop - here)))
            now, then = jnp.float32(here), jnp.float32(stop)
            x = _in_chunks(
                lambda p, now=now, then=then, count=count: _carry_chunk(
                    velocity, p, now, then, steps=count, scheme=scheme
                ),
                x,
            )
        here = stop
        found.append(x)
    return found


def deformation_gradient(
    velocity: Velocity,
    points: Float[np.ndarray, "m 3"],
    steps: int,
    scheme: Scheme = "rk4",
) -> Float[np.ndarray, "m 3 3"]:
    """Differentiate the whole flow: `F[i, j] = ∂Φ_i/∂x_j` at each point, by forward mode."""
    now, then = jnp.float32(0), jnp.float32(1)
    if len(points) == 0:
        return np.zeros((0, 3, 3), np.float32)
    return _in_chunks(
        lambda p: _gradient_chunk(velocity, p, now, then, steps=steps, scheme=scheme),
        np.asarray(points, np.float32),
    )

"""A batch worked on in pieces: gradients add up, and few enough rows stay in the cache."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vitreous.particles.prepare import Batch


def count_pieces(particles: int, rows: int, most_rows: int | None) -> int:
    """Choose in how many pieces a batch is worked on.

    **Arguments:** `particles`: of the batch; each piece holds as many. `rows`: of network
    activations, of one particle. `most_rows`: of a piece; None takes the batch whole.
    """
    if most_rows is None:
        return 1
    wanted = particles * rows / most_rows
    divisors = [m for m in range(1, particles + 1) if particles % m == 0]
    return next((m for m in divisors if m >= wanted), particles)


def gradient_in_pieces(
    differentiate: Callable,
    variables: tuple[Any, Any, Any],
    batch: Batch,
    noise: Float[Array, "g d"],
    count: int,
) -> tuple[tuple[Any, Any, Any], dict[str, Array]]:
    """Differentiate by networks, latents and pose corrections, piece by piece.

    **Arguments:** `differentiate(variables, batch, noise)`: gradients and scalars, which add up
    over pieces. `variables`: networks, and rows of the batch (or None) that are cut as it is.
    """
    if count == 1:
        return differentiate(variables, batch, noise)
    moving, z, correction = variables

    def piece(total, given):
        batch, z, correction, noise = given
        (networks, *rows), scalars = differentiate((moving, z, correction), batch, noise)
        return jax.tree.map(jnp.add, total, (networks, scalars)), rows

    pieces = jax.tree.map(
        lambda x: x.reshape(count, len(x) // count, *x.shape[1:]), (batch, z, correction, noise)
    )
    zero = {name: jnp.zeros(()) for name in ("loss", "reconstruction", "kl")}
    start = (jax.tree.map(jnp.zeros_like, moving), zero)
    (networks, scalars), rows = jax.lax.scan(piece, start, pieces)
    dz, dcorrection = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), rows)
    return (networks, dz, dcorrection), scalars

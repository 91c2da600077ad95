"""How much springs weigh against images: as much as makes their gradients equal, slowly.

The ratio of gradients is followed with a memory, held within a factor of ten of where it began,
and kept at the end, when a data term that has converged would let it run away.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

_MEMORY, _RANGE = 0.9, 10.0


class Balance(eqx.Module):
    """Hold the weight of the springs, and what it was when they were first weighed (0 before)."""

    weight: Float[Array, "..."]
    first: Float[Array, "..."]

    @classmethod
    def begin(cls, halves: int) -> "Balance":
        """Start with no springs, one weight a half."""
        return cls(jnp.zeros(halves), jnp.zeros(halves))


def gradient_norm(gradient: PyTree) -> Float[Array, ""]:
    """Measure a gradient over all its arrays."""
    return jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(gradient)) + 1e-30)


def balanced(
    balance: Balance,
    images: Float[Array, ""],
    springs: Float[Array, ""],
    factor: float,
    is_moving: Bool[Array, ""],
    is_final: Bool[Array, ""],
) -> Balance:
    """Weigh springs anew.

    **Arguments:** `images`, `springs`: norms of the two gradients. `factor`: what their ratio is
    to be. `is_moving`: before that, nothing is weighed. `is_final`: keep the weight.
    """
    wanted = factor * images / jnp.maximum(springs, 5e-4 * images)
    first = jnp.where(balance.first > 0, balance.first, wanted)
    followed = jnp.where(
        balance.first > 0, _MEMORY * balance.weight + (1 - _MEMORY) * wanted, wanted
    )
    followed = jnp.clip(followed, first / _RANGE, first * _RANGE)
    weight = jnp.where(is_final & (balance.first > 0), balance.weight, followed)
    return Balance(
        jnp.where(is_moving, weight, balance.weight), jnp.where(is_moving, first, balance.first)
    )

"""What a flexible fit changes. Everything of which each half set has its own is stacked."""

from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from vitreous.methods.flexible.balance import Balance
from vitreous.methods.flexible.deformation import Deformation
from vitreous.methods.flexible.gaussian_model import GaussianModel
from vitreous.training.row_adam import RowTable

Tree = TypeVar("Tree", bound=PyTree)


class Moving(eqx.Module):
    """Hold what a half set learns: Gaussians, and how they move."""

    gaussians: GaussianModel
    deformation: Deformation


class FlexibleState(eqx.Module):
    """Hold all that a fit changes.

    **Fields:** `model`, `optimizer`, `balance`: stacked, one a half. `latents`: of every image,
    by its own half's model, `(n, d)`. `poses`: corrections, `(n, 5)`: degrees and Å. `noise`:
    power of each optics group on each shell. `taught`: encoders, stacked. `near`: Gaussians that
    each may meet, `(2, g, k)`.
    """

    model: Moving
    optimizer: optax.OptState
    latents: Float[Array, "n d"]
    poses: RowTable | None
    balance: Balance
    noise: Float[Array, "o shells"]
    taught: PyTree = None
    near: Int[Array, "2 g k"] | None = None


def stacked(first: Tree, second: Tree) -> Tree:
    """Stack the arrays of two models of one shape."""
    return jax.tree.map(lambda a, b: jnp.stack([a, b]) if eqx.is_array(a) else a, first, second)


def half_of(model: Tree, half: int) -> Tree:
    """Take one of two stacked models."""
    return jax.tree.map(lambda leaf: leaf[half] if eqx.is_array(leaf) else leaf, model)

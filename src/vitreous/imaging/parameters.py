"""Parameters that stand for other values: wrap a leaf of a model, resolve it when it is called.

Replace any array of a module by a transform (`equinox.tree_at`); optimisers and samplers then see
the transform's own numbers. `resolve` puts the values back in, and the methods of `ImageModel` do
so by themselves.
"""

from abc import abstractmethod
from operator import attrgetter
from typing import ClassVar, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vitreous.geometry.rotations import rotation_vector_to_matrix
from vitreous.imaging.operators import Scalar, as_real

T = TypeVar("T")


class Transform(eqx.Module):
    """A leaf that stands for a value; `free` names the fields that an optimiser may change."""

    free: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def resolve(self) -> Array:
        """Return the value."""


class LogParameter(Transform):
    """A positive value by its logarithm: steps are relative, and it stays positive."""

    free: ClassVar[tuple[str, ...]] = ("log_value",)
    log_value: Float[Array, "..."] = eqx.field(converter=as_real)

    @staticmethod
    def of(value: Float[Array, "..."]) -> "LogParameter":
        """Wrap a positive value."""
        return LogParameter(jnp.log(value))

    def resolve(self) -> Array:
        """Return `exp(log_value)`."""
        return jnp.exp(self.log_value)


class ScaledParameter(Transform):
    """A value in units of its own, `origin + unit · steps`: puts Å and degrees on one footing."""

    free: ClassVar[tuple[str, ...]] = ("steps",)
    steps: Float[Array, "..."] = eqx.field(converter=as_real)
    origin: Float[Array, "..."] = eqx.field(converter=as_real)
    unit: Scalar = eqx.field(converter=as_real)

    @staticmethod
    def of(value: Float[Array, "..."], unit: float) -> "ScaledParameter":
        """Wrap a value; `unit` is about how far it may be from the truth."""
        return ScaledParameter(jnp.zeros_like(value), value, unit)

    def resolve(self) -> Array:
        """Return the value; only `steps` has a gradient."""
        origin, unit = jax.lax.stop_gradient((self.origin, self.unit))
        return origin + unit * self.steps


class Frozen(Transform):
    """A value that has no gradient."""

    value: Array

    def resolve(self) -> Array:
        """Return the value."""
        return jax.lax.stop_gradient(self.value)


class TangentRotation(Transform):
    """Rotations by a step in the tangent space at a base, `exp([turn]×) base`.

    **Fields:** `turn`: rotation vectors in units of `unit` degrees, about the axes of the image;
    `base`: without gradient. Start at turn 0, and `rebased` now and then.
    """

    free: ClassVar[tuple[str, ...]] = ("turn",)
    turn: Float[Array, "... 3"]
    base: Float[Array, "... 3 3"]
    unit: Scalar = eqx.field(converter=as_real, default=1.0)

    @staticmethod
    def of(rotation: Float[Array, "... 3 3"], unit: float = 1.0) -> "TangentRotation":
        """Wrap rotations; `unit` (degrees) is about how far they may be from the truth."""
        return TangentRotation(jnp.zeros_like(rotation[..., 0]), rotation, unit)

    def resolve(self) -> Array:
        """Return the rotations."""
        base, unit = jax.lax.stop_gradient((self.base, self.unit))
        step = rotation_vector_to_matrix(self.turn * unit)
        return jnp.matmul(step, base, precision="highest")

    def rebased(self) -> "TangentRotation":
        """Return the same rotations with turn 0."""
        return TangentRotation(jnp.zeros_like(self.turn), self.resolve(), self.unit)


def resolve(tree: T) -> T:
    """Replace every transform in a pytree by the value it stands for, inner ones first."""

    def value(node: object) -> object:
        if not isinstance(node, Transform):
            return node
        inner = jax.tree.map(
            value, node, is_leaf=lambda x: isinstance(x, Transform) and x is not node
        )
        return inner.resolve()

    return jax.tree.map(value, tree, is_leaf=lambda x: isinstance(x, Transform))


def trainable(tree: T) -> T:
    """Mark what optimisers should change: True for the free numbers of transforms, else False.

    `equinox.partition(model, trainable(model))` splits a model into parameters and the rest.
    """

    def mark(node: object) -> object:
        marks = jax.tree.map(lambda _: False, node)
        for name in node.free if isinstance(node, Transform) else ():
            marks = eqx.tree_at(attrgetter(name), marks, True)
        return marks

    return jax.tree.map(mark, tree, is_leaf=lambda x: isinstance(x, Transform))

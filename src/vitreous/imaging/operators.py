"""Functions of frequency or of place that add, multiply and differentiate.

One concept serves filters, envelopes, noise and ice spectra, transfer functions of detectors, and
masks. An operator is called with points, `(kx, ky)` in cycles/Å or `(x, y)` in Å (three of each in
space), and returns a number for each.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from vitreous.geometry.fourier import half_plane, image_from_half_plane
from vitreous.imaging.grid import ImageGrid

Number = float | int | np.ndarray | np.generic | Array
Numbers = Number | Sequence
# Fields of operators: numbers when made, arrays ever after.
Scalar = Float[Array, ""] | float


def as_real(value: Numbers) -> Array:
    """Turn numbers into an array of JAX's default real type; JAX arrays stay as they are."""
    return value if isinstance(value, jax.Array) else jnp.asarray(value, float)


def radius(points: Float[Array, "... d"]) -> Float[Array, "..."]:
    """Return the length of each point, with gradient 0 at the origin."""
    square = jnp.sum(points * points, axis=-1)
    at_origin = square == 0
    return jnp.where(at_origin, 0, jnp.sqrt(jnp.where(at_origin, 1, square)))


class Operator(eqx.Module):
    """A function of points; `+`, `-`, `*`, `/` and `**` combine operators with each other.

    Numbers stand for constant operators.
    """

    # NumPy scalars would otherwise take the operator apart instead of leaving `*` to it.
    __array_ufunc__ = None

    @abstractmethod
    def __call__(self, points: Float[Array, "... d"]) -> Float[Array, "..."]:
        """Evaluate at points."""

    def __add__(self, other: "Operator | Number") -> "Operator":
        return Sum(self, as_operator(other))

    def __radd__(self, other: Number) -> "Operator":
        return Sum(as_operator(other), self)

    def __sub__(self, other: "Operator | Number") -> "Operator":
        return Sum(self, Product(Constant(-1.0), as_operator(other)))

    def __rsub__(self, other: Number) -> "Operator":
        return Sum(as_operator(other), -self)

    def __neg__(self) -> "Operator":
        return Product(Constant(-1.0), self)

    def __mul__(self, other: "Operator | Number") -> "Operator":
        return Product(self, as_operator(other))

    def __rmul__(self, other: Number) -> "Operator":
        return Product(as_operator(other), self)

    def __truediv__(self, other: "Operator | Number") -> "Operator":
        return Product(self, Power(as_operator(other), -1.0))

    def __rtruediv__(self, other: Number) -> "Operator":
        return Product(as_operator(other), Power(self, -1.0))

    def __pow__(self, exponent: float | int) -> "Operator":
        return Power(self, float(exponent))


class Constant(Operator):
    """The same value everywhere."""

    value: Scalar = eqx.field(converter=as_real)

    def __call__(self, points: Float[Array, "... d"]) -> Float[Array, "..."]:
        """Return `value` at every point."""
        return jnp.broadcast_to(self.value, points.shape[:-1])


class Sum(Operator):
    """The sum of two operators."""

    first: Operator
    second: Operator

    def __call__(self, points: Float[Array, "... d"]) -> Float[Array, "..."]:
        """Add the values."""
        return self.first(points) + self.second(points)


class Product(Operator):
    """The product of two operators."""

    first: Operator
    second: Operator

    def __call__(self, points: Float[Array, "... d"]) -> Float[Array, "..."]:
        """Multiply the values."""
        return self.first(points) * self.second(points)


class Power(Operator):
    """A power of an operator, such as `power ** -0.5`, which whitens."""

    base: Operator
    exponent: float = eqx.field(static=True)

    def __call__(self, points: Float[Array, "... d"]) -> Float[Array, "..."]:
        """Raise the values."""
        return self.base(points) ** self.exponent


class Tabulated(Operator):
    """Values at given radii, linear in between and constant beyond both ends.

    **Fields:** `radius`: ascending, cycles/Å or Å. `value`: one for each.
    """

    radius: Float[Array | np.ndarray, " m"] = eqx.field(converter=as_real)
    value: Float[Array | np.ndarray, " m"] = eqx.field(converter=as_real)

    def __call__(self, points: Float[Array, "... d"]) -> Float[Array, "..."]:
        """Interpolate at the length of each point."""
        return jnp.interp(radius(points), jnp.asarray(self.radius), jnp.asarray(self.value))


class Sampled(Operator):
    """Values known on one grid only: an array of the half plane, or of the pixels."""

    value: Float[Array | np.ndarray, "..."] = eqx.field(converter=as_real)

    def __call__(self, points: Float[Array, "... d"]) -> Float[Array, "..."]:
        """Return the array, if it has one value for each point.

        **Raises:** `ValueError` if it has not.
        """
        value = jnp.asarray(self.value)
        if points.shape[:-1] != value.shape:
            raise ValueError(
                f"values were given at {value.shape} points, asked for at {points.shape[:-1]}"
            )
        return value


class Custom(Operator):
    """Any function of points; the only operator that cannot be written to a file."""

    function: Callable[[Array], Array] = eqx.field(static=True)

    def __call__(self, points: Float[Array, "... d"]) -> Float[Array, "..."]:
        """Call the function."""
        return self.function(points)


def as_operator(value: "Operator | Number") -> Operator:
    """Let a number stand for a constant operator."""
    return value if isinstance(value, Operator) else Constant(as_real(value))


def apply_filter(
    images: Float[Array, "... n n"], operator: Operator, grid: ImageGrid
) -> Float[Array, "... n n"]:
    """Multiply the transforms of images by an operator."""
    return image_from_half_plane(filter_half_plane(half_plane(images), operator, grid), grid.box)


def filter_half_plane(
    half: Complex[Array, "... n h"], operator: Operator, grid: ImageGrid
) -> Complex[Array, "... n h"]:
    """Multiply half planes by an operator."""
    values = operator(grid.frequencies())
    return half * values.reshape(*(1,) * (half.ndim - 2), *values.shape).astype(half.dtype)

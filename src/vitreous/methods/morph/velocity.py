"""Velocity fields: where each point of space is heading, as a network or as a coarse spline.

Fields take points `(x, y, z)` in Å of the laboratory frame (header origin included) and give Å per
unit of time. Inside, positions are shares of `extent` from `centre`, in array order `(z, y, x)`:
with the centre at a map's first corner and the extent its side, that is the peer's unit cube.
"""

from collections.abc import Sequence
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Triple = tuple[float, float, float]
VelocityKind = Literal["mlp", "spline"]
LEAK = 0.01


class MLPVelocity(eqx.Module):
    """Give the velocity by a perceptron with leaky rectifiers: close to a few rigid pieces.

    **Fields:** `weights` `(out, in)` and `biases` of each layer; three inputs, or four where the
    field changes with time. `centre` and `extent` in Å.
    """

    weights: tuple[Float[Array, "_ _"], ...]
    biases: tuple[Float[Array, " _"], ...]
    centre: Triple = eqx.field(static=True)
    extent: float = eqx.field(static=True)

    @property
    def is_time_dependent(self) -> bool:
        """Whether the field changes on the way."""
        return self.weights[0].shape[1] == 4

    def __call__(self, time: Float[Array, ""], points: Float[Array, "m 3"]) -> Float[Array, "m 3"]:
        hidden = to_unit(points, self.centre, self.extent)
        if self.is_time_dependent:
            when = jnp.full_like(hidden[:, :1], 2) * time - 1
            hidden = jnp.concatenate([hidden, when], axis=-1)
        last = len(self.weights) - 1
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = jnp.dot(hidden, weight.T) + bias[None]
            if i < last:
                hidden = jnp.maximum(hidden, LEAK * hidden)
        return self.extent * hidden[:, ::-1]


class SplineVelocity(eqx.Module):
    """Give the velocity by cubic B-splines on a coarse grid of control points.

    **Fields:** `control` `(knots, g, g, g, 3)`, shares of the extent; with more than one knot
    they are blended linearly over time. The grid spans `extent` about `centre` (Å) and the
    velocity falls to zero outside.
    """

    control: Float[Array, "k g g g 3"]
    centre: Triple = eqx.field(static=True)
    extent: float = eqx.field(static=True)

    @property
    def is_time_dependent(self) -> bool:
        """Whether the field changes on the way."""
        return len(self.control) > 1

    def __call__(self, time: Float[Array, ""], points: Float[Array, "m 3"]) -> Float[Array, "m 3"]:
        knots, g = self.control.shape[:2]
        control = self.control[0]
        if knots > 1:
            away = jnp.abs(jnp.arange(knots, dtype=points.dtype) - time * (knots - 1))
            control = jnp.tensordot(jnp.maximum(1 - away, 0), self.control, 1)
        # One control point lies beyond each face, so that splines sum to one inside.
        place = (to_unit(points, self.centre, self.extent) + 0.5) * (g - 3) + 1
        basis = cubic_basis(place[..., None] - jnp.arange(g, dtype=place.dtype)[None, None])
        # Dense contractions: on every device faster than 64 gathers a point.
        lines = jnp.dot(basis[:, 0], control.reshape(g, -1)).reshape(-1, g, g, 3)
        planes = jnp.einsum("my,myxc->mxc", basis[:, 1], lines)
        return self.extent * jnp.einsum("mx,mxc->mc", basis[:, 2], planes)[:, ::-1]


class SymmetricVelocity(eqx.Module):
    """Average a velocity field over a point group about a centre, so that it keeps the symmetry.

    **Fields:** `rotations`: the group, as nested tuples so that they are no parameters.
    """

    base: MLPVelocity | SplineVelocity
    rotations: tuple[tuple[Triple, ...], ...] = eqx.field(static=True)
    pivot: Triple = eqx.field(static=True)

    @property
    def is_time_dependent(self) -> bool:
        """Whether the field changes on the way."""
        return self.base.is_time_dependent

    def __call__(self, time: Float[Array, ""], points: Float[Array, "m 3"]) -> Float[Array, "m 3"]:
        group = jnp.asarray(np.array(self.rotations), points.dtype)
        pivot = jnp.asarray(self.pivot, points.dtype)[None]
        inner = points - pivot

        def add(total, rotation):
            moved = self.base(time, jnp.dot(inner, rotation.T, precision="highest") + pivot)
            return total + jnp.dot(moved, rotation, precision="highest"), None

        total, _ = jax.lax.scan(jax.checkpoint(add), jnp.zeros_like(points), group)
        return total / len(group)


Velocity = MLPVelocity | SplineVelocity | SymmetricVelocity


def to_unit(points: Float[Array, "m 3"], centre: Triple, extent: float) -> Float[Array, "m 3"]:
    """Express points as shares of the extent, array order."""
    return (points - jnp.asarray(centre, points.dtype)[None])[:, ::-1] / extent


def cubic_basis(distance: Float[Array, "..."]) -> Float[Array, "..."]:
    """Evaluate the uniform cubic B-spline at distances counted in control points."""
    d = jnp.abs(distance)
    near = 2 / 3 - d * d + 0.5 * d * d * d
    far = jnp.maximum(2 - d, 0)
    return jnp.where(d < 1, near, far * far * far / 6)


def new_mlp(
    key: jax.Array,
    depth: int,
    width: int,
    centre: Triple,
    extent: float,
    is_time_dependent: bool = False,
    like_peer: bool = False,
) -> MLPVelocity:
    """Start a perceptron whose flow is nearly the identity.

    **Arguments:** `depth`: linear layers. `like_peer`: every weight from N(0, 0.01²) and no bias;
    otherwise hidden layers keep the spread of their input and only the last is small, which
    spares the first hundred steps.
    """
    sizes = [4 if is_time_dependent else 3] + [width] * (depth - 1) + [3]
    weights, biases = [], []
    for i, layer_key in enumerate(jax.random.split(key, depth)):
        shape = (sizes[i + 1], sizes[i])
        w_key, b_key = jax.random.split(layer_key)
        spread = 0.01 if like_peer or i == depth - 1 else (2 / sizes[i]) ** 0.5
        weights.append(spread * jax.random.normal(w_key, shape))
        bias = jnp.zeros(shape[0])
        if not like_peer and i == 0:
            # Kinks near the centre: spread wide, they bend what should turn as one piece.
            bias = jax.random.uniform(b_key, (shape[0],), minval=-0.02, maxval=0.02)
        biases.append(bias)
    return MLPVelocity(tuple(weights), tuple(biases), centre, extent)


def new_spline(points: int, centre: Triple, extent: float, knots: int = 1) -> SplineVelocity:
    """Start a spline field at rest, `points` control points a side."""
    return SplineVelocity(jnp.zeros((knots, points, points, points, 3)), centre, extent)


def symmetrise(
    base: MLPVelocity | SplineVelocity, rotations: Float[np.ndarray, "g 3 3"], pivot: Sequence
) -> Velocity:
    """Wrap a field by a point group; the trivial group changes nothing."""
    if len(rotations) == 1:
        return base
    nested = tuple(
        tuple((float(x), float(y), float(z)) for x, y, z in rotation) for rotation in rotations
    )
    x, y, z = (float(p) for p in pivot)
    return SymmetricVelocity(base, nested, (x, y, z))

"""Deformation fields: where a point of the consensus lies in the image with latent z.

Points and displacements are in Å from the box centre, `(x, y, z)` in the last axis. Every field is
exactly zero at `z = 0`: the consensus is the conformation of that latent.
"""

from abc import abstractmethod
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vitreous.training.networks.residual_mlp import Linear

DecoderKind = Literal["factorised", "concatenated"]


class Deformation(eqx.Module):
    """Give the displacement of every point in every image: `δ(p, z)`, zero at `z = 0`."""

    @abstractmethod
    def __call__(
        self, points: Float[Array, "m 3"], z: Float[Array, "b d"]
    ) -> Float[Array, "b m 3"]:
        """Return displacements in Å."""


class FactorisedDeformation(Deformation):
    """Mix displacement modes: `δ(p, z) = Σ_k w_k(z) φ_k(p)`.

    The modes are worked out once for all images, which only mix them: `2·b·m·3k` operations in
    place of a network for every point of every image.

    **Fields:** `frequency`: `(3, f)` of the waves that the network of the modes sees, in radians a
    radius. `space`: that network's layers; `linear`: the weights' part that is linear in z;
    `bend`: layers of the rest, of which the value at 0 is taken off. `radius`: of the molecule, Å.
    `reach`: displacement of a weight of 1, Å.
    """

    frequency: Float[Array, "3 f"]
    space: tuple[Linear, ...]
    linear: Float[Array, "d k"]
    bend: tuple[Linear, ...]
    radius: float = eqx.field(static=True)
    reach: float = eqx.field(static=True)

    def modes(self, points: Float[Array, "m 3"]) -> Float[Array, "m k 3"]:
        """Evaluate all modes at some points, Å."""
        out = _perceptron(self.space, _waves(points / self.radius, self.frequency))
        return self.reach * out.reshape(len(points), -1, 3)

    def weights(self, z: Float[Array, "b d"]) -> Float[Array, "b k"]:
        """Evaluate how much of each mode some latents have."""
        bent = _perceptron(self.bend, z) - _perceptron(self.bend, jnp.zeros_like(z[:1]))
        return _exactly_zero(z @ self.linear + bent, z)

    def __call__(
        self, points: Float[Array, "m 3"], z: Float[Array, "b d"]
    ) -> Float[Array, "b m 3"]:
        """Return displacements in Å."""
        return mix_modes(self.modes(points), self.weights(z))


class ConcatenatedDeformation(Deformation):
    """Give displacements by one network of point and latent, as DynaMight does.

    **Fields:** as of `FactorisedDeformation`; `first` takes the point's waves, `joined` the
    latent, and their sum enters `rest`.

    **Source:** Schwab et al. (2024) Nature Methods 21, 1855; the value at `z = 0` is taken off.
    """

    frequency: Float[Array, "3 f"]
    first: Linear
    joined: Float[Array, "d w"]
    rest: tuple[Linear, ...]
    radius: float = eqx.field(static=True)
    reach: float = eqx.field(static=True)

    def __call__(
        self, points: Float[Array, "m 3"], z: Float[Array, "b d"]
    ) -> Float[Array, "b m 3"]:
        """Return displacements in Å."""
        seen = self.first(_waves(points / self.radius, self.frequency))

        @jax.checkpoint
        def one(latent: Float[Array, " d"]) -> Float[Array, "m 3"]:
            return _perceptron(self.rest, jax.nn.elu(seen + (latent @ self.joined)[None]))

        moved = jax.vmap(one)(z) - one(jnp.zeros_like(z[0]))[None]
        return _exactly_zero(self.reach * moved, z)


def mix_modes(modes: Float[Array, "m k 3"], weights: Float[Array, "b k"]) -> Float[Array, "b m 3"]:
    """Add up modes by their weights."""
    m, k, _ = modes.shape
    flat = jnp.swapaxes(modes, 0, 1).reshape(k, m * 3)
    return jnp.dot(weights, flat, precision="highest").reshape(-1, m, 3)


def make_deformation(
    kind: DecoderKind,
    zdim: int,
    radius: float,
    reach: float,
    key: jax.Array,
    *,
    modes: int = 32,
    width: int = 64,
    depth: int = 2,
    waves: int = 32,
    detail: float = 2.5,
) -> FactorisedDeformation | ConcatenatedDeformation:
    """Make a field that moves points a little, at random but smoothly.

    **Arguments:** `zdim`: latent dimensions. `radius`: of the molecule, Å. `reach`: the size of
    displacements expected, Å. `modes`: of the factorised field. `width`, `depth`: of the hidden
    layers. `waves`, `detail`: how many waves a network sees of a point, and their root mean square
    frequency in radians a radius.
    """
    k_wave, k_first, k_space, k_linear, k_bend = jax.random.split(key, 5)
    # Rounded to one precision everywhere, so that a field read back is the same to the bit.
    frequency = detail * jax.random.normal(k_wave, (3, waves))
    radius, reach = float(np.float32(radius)), float(np.float32(reach))
    inputs = 2 * waves + 3
    if kind == "concatenated":
        first = Linear(inputs, width, k_first)
        joined = jax.random.normal(k_linear, (zdim, width)) * zdim**-0.5
        rest = _small(_layers([width] * (depth + 1) + [3], k_space), 0.1)
        return ConcatenatedDeformation(frequency, first, joined, rest, radius, reach)
    space = _layers([inputs, *[width] * depth, 3 * modes], k_space)
    linear = jax.random.normal(k_linear, (zdim, modes)) * (modes * zdim) ** -0.5
    bend = _small(_layers([zdim, width, modes], k_bend), 0.1)
    return FactorisedDeformation(frequency, space, linear, bend, radius, reach)


def _exactly_zero(values: Float[Array, "b ..."], z: Float[Array, "b d"]) -> Float[Array, "b ..."]:
    """Take rounding off where `z = 0`; derivatives there stay."""
    at_rest = jnp.all(z == 0, axis=1).reshape(-1, *(1,) * (values.ndim - 1))
    return values - jax.lax.stop_gradient(jnp.where(at_rest, values, 0.0))


def _waves(points: Float[Array, "m 3"], frequency: Float[Array, "3 f"]) -> Float[Array, "m g"]:
    phase = jnp.dot(points, jax.lax.stop_gradient(frequency), precision="highest")
    return jnp.concatenate([points, jnp.sin(phase), jnp.cos(phase)], axis=-1)


def _layers(sizes: list[int], key: jax.Array) -> tuple[Linear, ...]:
    keys = jax.random.split(key, len(sizes) - 1)
    return tuple(Linear(a, b, k) for a, b, k in zip(sizes[:-1], sizes[1:], keys, strict=True))


def _small(layers: tuple[Linear, ...], factor: float) -> tuple[Linear, ...]:
    """Scale the last layer, so that a fresh network says little."""
    *first, last = layers
    return (*first, eqx.tree_at(lambda layer: layer.weight, last, last.weight * factor))


def _perceptron(layers: tuple[Linear, ...], x: Float[Array, "m n"]) -> Float[Array, "m o"]:
    *hidden, last = layers
    for layer in hidden:
        x = jax.nn.silu(layer(x))
    return last(x)

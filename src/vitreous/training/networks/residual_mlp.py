"""The residual multi-layer perceptron of encoders and decoders."""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Activation = Literal["relu", "leaky_relu"]
_ACTIVATIONS = {"relu": jax.nn.relu, "leaky_relu": jax.nn.leaky_relu}


class Linear(eqx.Module):
    """Multiply by a matrix and add a bias; initialised uniformly in ±1/√inputs."""

    weight: Float[Array, "inputs outputs"]
    bias: Float[Array, " outputs"]

    def __init__(self, inputs: int, outputs: int, key: jax.Array) -> None:
        limit = inputs**-0.5
        k_weight, k_bias = jax.random.split(key)
        self.weight = jax.random.uniform(k_weight, (inputs, outputs), minval=-limit, maxval=limit)
        self.bias = jax.random.uniform(k_bias, (outputs,), minval=-limit, maxval=limit)

    def __call__(self, x: Float[Array, "... inputs"]) -> Float[Array, "... outputs"]:
        """Apply the layer to the last axis."""
        return x @ self.weight + _row(self.bias, x.ndim)


def _row(vector: Float[Array, " n"], ndim: int) -> Float[Array, "... n"]:
    return vector.reshape(*(1,) * (ndim - 1), -1)


class ResidualMLP(eqx.Module):
    """Map `inputs → width → … → width → outputs`, with the input added before each activation.

    **Fields:** `layers`: `depth + 2` matrices. A layer adds its input when both widths agree and
    the network is residual.

    **Source:** He et al. (2016); layer order as in cryoDRGN 4.3.
    """

    layers: tuple[Linear, ...]
    activation: Activation = eqx.field(static=True)
    is_residual: bool = eqx.field(static=True)

    def __init__(
        self,
        inputs: int,
        outputs: int,
        width: int,
        depth: int,
        *,
        key: jax.Array,
        activation: Activation = "relu",
        is_residual: bool = True,
    ) -> None:
        sizes = [inputs, *[width] * (depth + 1), outputs]
        keys = jax.random.split(key, depth + 2)
        self.layers = tuple(
            Linear(a, b, k) for a, b, k in zip(sizes[:-1], sizes[1:], keys, strict=True)
        )
        self.activation = activation
        self.is_residual = is_residual

    def __call__(
        self,
        x: Float[Array, "... features"],
        condition: Float[Array, "b d"] | None = None,
    ) -> Float[Array, "... outputs"]:
        """Apply the network to the last axis.

        **Arguments:** `condition`: one vector per leading index of `x`, taken as the last inputs
        of the first layer. It is multiplied once per image instead of once per pixel.
        """
        act = _ACTIVATIONS[self.activation]
        first, *hidden, last = self.layers
        if condition is None:
            x = self._residual(first, x)
        else:
            split = x.shape[-1]
            shared = condition @ first.weight[split:] + first.bias[None]
            shared = shared.reshape(shared.shape[0], *(1,) * (x.ndim - 2), -1)
            x = x @ first.weight[:split] + shared
        x = act(x)
        for layer in hidden:
            x = act(self._residual(layer, x))
        return self._residual(last, x)

    def _residual(self, layer: Linear, x: Float[Array, "... n"]) -> Float[Array, "... m"]:
        y = layer(x)
        return y + x if self.is_residual and x.shape[-1] == y.shape[-1] else y


def scaled_output(network: ResidualMLP, factor: float) -> ResidualMLP:
    """Scale the last layer, so that a fresh network starts near zero."""
    last = network.layers[-1]
    scaled = eqx.tree_at(
        lambda layer: (layer.weight, layer.bias),
        last,
        (last.weight * factor, jnp.zeros_like(last.bias)),
    )
    return eqx.tree_at(lambda net: net.layers[-1], network, scaled)

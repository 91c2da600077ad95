"""Networks from an image to numbers: on its Fourier pixels, or CryoFIRE's convolutions.

Both take what `reference.whitened` makes of an image: phase-flipped Fourier pixels of about unit
variance.
"""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float

from vitreous.geometry.fourier import image_from_half_plane
from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.training.networks.lifting import Lifting
from vitreous.training.networks.residual_mlp import Linear, ResidualMLP

EncoderKind = Literal["spectral", "cnn"]

# Motion shows at low resolution.
_LIFTED_SHELLS = 12


class SpectralEncoder(eqx.Module):
    """A residual perceptron on real and imaginary parts: on a CPU ten times as fast as a CNN."""

    network: ResidualMLP

    def __call__(self, seen: Complex[Array, "b p"]) -> Float[Array, "b outputs"]:
        """Return the outputs of each image."""
        return self.network(jnp.concatenate([seen.real, seen.imag], axis=1))


class Convolution(eqx.Module):
    """A convolution with zero "same" padding on images of channels last."""

    weight: Float[Array, "k k inputs outputs"]
    bias: Float[Array, " outputs"]

    def __init__(self, inputs: int, outputs: int, kernel: int, key: jax.Array) -> None:
        limit = (inputs * kernel * kernel) ** -0.5
        k_weight, k_bias = jax.random.split(key)
        shape = (kernel, kernel, inputs, outputs)
        self.weight = jax.random.uniform(k_weight, shape, minval=-limit, maxval=limit)
        self.bias = jax.random.uniform(k_bias, (outputs,), minval=-limit, maxval=limit)

    def __call__(self, x: Float[Array, "b n n inputs"]) -> Float[Array, "b n n outputs"]:
        """Apply to images."""
        y = jax.lax.conv_general_dilated(
            x, self.weight, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return y + self.bias[None, None, None]


class GroupNorm(eqx.Module):
    """Give groups of channels zero mean and unit variance in each image, then scale and shift."""

    scale: Float[Array, " c"]
    offset: Float[Array, " c"]
    groups: int = eqx.field(static=True)

    def __init__(self, channels: int, groups: int) -> None:
        self.scale, self.offset = jnp.ones(channels), jnp.zeros(channels)
        self.groups = groups

    def __call__(self, x: Float[Array, "b n n c"]) -> Float[Array, "b n n c"]:
        """Normalise images."""
        parts = x.reshape(*x.shape[:3], self.groups, -1)
        mean = jnp.mean(parts, axis=(1, 2, 4), keepdims=True)
        variance = jnp.mean((parts - mean) ** 2, axis=(1, 2, 4), keepdims=True)
        normal = ((parts - mean) * jax.lax.rsqrt(variance + 1e-5)).reshape(x.shape)
        return normal * self.scale[None, None, None] + self.offset[None, None, None]


class Block(eqx.Module):
    """Convolve twice, halve the side, normalise; the second convolution doubles the channels."""

    first: Convolution
    second: Convolution
    norm: GroupNorm

    def __call__(self, x: Float[Array, "b n n c"]) -> Float[Array, "b m m d"]:
        """Apply to images; an odd last row and column are dropped."""
        x = jax.nn.relu(self.second(jax.nn.relu(self.first(x))))
        half = x.shape[1] // 2
        b, _, _, c = x.shape
        x = x[:, : 2 * half, : 2 * half].reshape(b, half, 2, half, 2, c).mean(axis=(2, 4))
        return self.norm(x)


class ConvolutionEncoder(eqx.Module):
    """CryoFIRE's encoder: `depth` blocks, then one linear layer on the last map.

    Channels grow from `channels` to `channels · 2^depth`; every norm has `channels` groups. The
    heads of the original are linear layers side by side, which is one.

    **Source:** Levy et al. (2022), arXiv 2210.07387.
    """

    blocks: tuple[Block, ...]
    head: Linear
    box: int = eqx.field(static=True)
    max_shell: int = eqx.field(static=True)

    def __init__(
        self,
        box: int,
        max_shell: int,
        outputs: int,
        depth: int,
        channels: int,
        kernel: int,
        key: jax.Array,
    ) -> None:
        self.box, self.max_shell = box, max_shell
        blocks, width, side = [], 1, box
        for level in range(depth):
            key, k_first, k_second = jax.random.split(key, 3)
            inner, wider = channels * 2**level, channels * 2 ** (level + 1)
            blocks.append(
                Block(
                    Convolution(width, inner, kernel, k_first),
                    Convolution(inner, wider, kernel, k_second),
                    GroupNorm(wider, channels),
                )
            )
            width, side = wider, side // 2
        self.blocks = tuple(blocks)
        self.head = Linear(width * side * side, outputs, key)

    def __call__(self, seen: Complex[Array, "b p"]) -> Float[Array, "b outputs"]:
        """Return the outputs of each image, seen in real space."""
        half = FourierPixels(self.box, self.max_shell).scatter(seen)
        x = image_from_half_plane(half, self.box)[..., None] * self.box
        for block in self.blocks:
            x = block(x)
        return self.head(x.reshape(x.shape[0], -1))


class LiftedEncoder(eqx.Module):
    """A perceptron on images of known pose, brought into the frame of the molecule."""

    network: ResidualMLP
    lifting: Lifting
    band: FourierPixels = eqx.field(static=True)

    def __init__(
        self,
        pixels: FourierPixels,
        radius: float,
        outputs: int,
        width: int,
        depth: int,
        key: jax.Array,
    ) -> None:
        """**Arguments:** `pixels`: of the images. `radius`: of the particle in pixels."""
        self.band = FourierPixels(pixels.box, min(pixels.max_shell, _LIFTED_SHELLS))
        self.lifting = Lifting(pixels.box, self.band.max_shell, radius)
        inputs = len(self.lifting.voxels) + 9
        self.network = ResidualMLP(inputs, outputs, width, depth, key=key)

    def __call__(
        self, matched: Complex[Array, "b p"], rotation: Float[Array, "b 3 3"]
    ) -> Float[Array, "b outputs"]:
        """Return the outputs of centred images, multiplied by their CTF over the noise."""
        features = self.lifting(matched[:, : len(self.band)], rotation)
        spread = jnp.sqrt(jnp.mean(features**2, axis=1, keepdims=True) + 1e-12)
        view = rotation.reshape(-1, 9)
        return self.network(jnp.concatenate([features / spread, view], axis=1))


Encoder = SpectralEncoder | ConvolutionEncoder


def build_encoder(
    kind: EncoderKind,
    pixels: FourierPixels,
    outputs: int,
    *,
    width: int,
    layers: int,
    depth_cnn: int,
    channels_cnn: int,
    kernel_size_cnn: int,
    key: jax.Array,
) -> Encoder:
    """Make an encoder of images given as the listed pixels.

    **Arguments:** `width`, `layers`: of the perceptron. `depth_cnn`: blocks, at most as many as
    the box can be halved.
    """
    if kind == "spectral":
        return SpectralEncoder(ResidualMLP(2 * len(pixels), outputs, width, layers, key=key))
    depth = min(depth_cnn, pixels.box.bit_length() - 1)
    return ConvolutionEncoder(
        pixels.box, pixels.max_shell, outputs, depth, channels_cnn, kernel_size_cnn, key
    )

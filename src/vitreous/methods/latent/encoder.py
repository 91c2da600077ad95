"""Encoders: from an image (and what is known of it) to the mean and log-variance of its latent."""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vitreous.geometry.fourier import image_from_half_plane
from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.methods.latent.encoder_input import (
    EncoderInput,
    lifted_residual,
    mean_over_tilts,
    phase_flipped,
)
from vitreous.methods.latent.tilt_encoder import LiftedTiltEncoder, TiltEncoder, TiltSizes
from vitreous.training.networks.lifting import Lifting
from vitreous.training.networks.residual_mlp import ResidualMLP

EncoderType = Literal["lift", "resid", "mlp", "conv", "tilt", "tilt-pixels"]


class LiftEncoder(eqx.Module):
    """Encode what is left of an image beyond the consensus, in the frame of the molecule."""

    network: ResidualMLP
    scale: Float[Array, ""]
    lifting: Lifting

    def __call__(self, seen: EncoderInput) -> Float[Array, "g outputs"]:
        """Return the network's outputs; the (mean) viewing direction is an input too."""
        features = lifted_residual(self.lifting, seen) * jax.lax.stop_gradient(self.scale)
        view = mean_over_tilts(seen.rotation.reshape(-1, 9), seen)
        return self.network(jnp.concatenate([features, view], axis=1))


class PixelEncoder(eqx.Module):
    """Encode half-plane pixels × sign(CTF), as cryoDRGN does."""

    network: ResidualMLP

    def __call__(self, seen: EncoderInput) -> Float[Array, "g outputs"]:
        """Return the network's outputs, averaged over the tilts of a particle."""
        flipped = phase_flipped(seen)
        out = self.network(jnp.concatenate([flipped.real, flipped.imag], axis=1))
        return mean_over_tilts(out, seen)


class ConvEncoder(eqx.Module):
    """Encode the centred, phase-flipped image in real space by strided convolutions."""

    convolutions: tuple[eqx.nn.Conv2d, ...]
    norms: tuple[eqx.nn.GroupNorm, ...]
    head: ResidualMLP
    box: int = eqx.field(static=True)
    band: int = eqx.field(static=True)

    def __init__(
        self, box: int, band: int, outputs: int, width: int, depth: int, key: jax.Array
    ) -> None:
        self.box, self.band = box, band
        side, channels = self.side, 1
        convolutions, norms = [], []
        while side > 4:
            key, k = jax.random.split(key)
            wider = min(16 if channels == 1 else 2 * channels, 128)
            convolutions.append(
                eqx.nn.Conv2d(channels, wider, kernel_size=3, stride=2, padding=1, key=k)
            )
            norms.append(eqx.nn.GroupNorm(8, wider))
            side, channels = -(-side // 2), wider
        self.convolutions, self.norms = tuple(convolutions), tuple(norms)
        self.head = ResidualMLP(channels * side * side, outputs, width, depth, key=key)

    @property
    def side(self) -> int:
        """Side of the image the convolutions see: just large enough for the band."""
        return min(self.box, 2 * self.band + 2)

    def __call__(self, seen: EncoderInput) -> Float[Array, "g outputs"]:
        """Return the network's outputs, averaged over the tilts of a particle."""
        size = self.side
        k = FourierPixels(self.box, self.band).frequency.astype(int)
        half = jnp.zeros((seen.pixels.shape[0], size, size // 2 + 1), seen.pixels.dtype)
        half = half.at[:, k[:, 1] % size, k[:, 0]].set(phase_flipped(seen))
        images = image_from_half_plane(half, size) * size

        def features(image: Float[Array, "n n"]) -> Float[Array, " f"]:
            x = image[None]
            for convolution, norm in zip(self.convolutions, self.norms, strict=True):
                x = jax.nn.relu(norm(convolution(x)))
            return x.reshape(-1)

        return mean_over_tilts(self.head(jax.vmap(features)(images)), seen)


Encoder = LiftEncoder | PixelEncoder | ConvEncoder | LiftedTiltEncoder | TiltEncoder


def build_encoder(
    kind: EncoderType,
    *,
    box: int,
    band: int,
    radius: float,
    latent_size: int,
    width: int,
    depth: int,
    key: jax.Array,
    tilts: TiltSizes | None = None,
) -> Encoder:
    """Make an encoder with `2 · latent_size` outputs (mean, log-variance).

    **Arguments:** `band`: outermost shell it sees. `radius`: of the molecule in pixels (`lift`,
    `tilt`). `tilts`: sizes of the network over tilts (`tilt`, `tilt-pixels`).
    """
    outputs = 2 * latent_size
    if kind in ("lift", "tilt"):
        lifting = Lifting(box, band, radius)
        if kind == "tilt":
            assert tilts is not None
            return LiftedTiltEncoder(lifting, outputs, tilts, key)
        network = ResidualMLP(len(lifting.voxels) + 9, outputs, width, depth, key=key)
        return LiftEncoder(network, jnp.ones(()), lifting)
    if kind == "conv":
        return ConvEncoder(box, band, outputs, width, depth, key)
    inputs = 2 * len(FourierPixels(box, band))
    if kind == "tilt-pixels":
        assert tilts is not None
        return TiltEncoder(inputs, outputs, width, depth, tilts, key)
    return PixelEncoder(
        ResidualMLP(inputs, outputs, width, depth, key=key, is_residual=kind == "resid")
    )

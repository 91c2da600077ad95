"""The encoders of tilts in order: places in the series have a meaning, by the order of exposure.

A particle with fewer tilts leaves its last places empty.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vitreous.methods.latent.encoder_input import (
    EncoderInput,
    lifted_images,
    mean_over_tilts,
    over_tilts,
    phase_flipped,
)
from vitreous.training.networks.lifting import Lifting
from vitreous.training.networks.residual_mlp import ResidualMLP


class TiltSizes(NamedTuple):
    """Sizes of the network over tilts.

    **Fields:** `places`: for tilts. `embedding`: numbers that tell of an image. `layers`,
    `width`: of the network from all of them to the latent.
    """

    places: int
    embedding: int = 64
    layers: int = 3
    width: int = 256


class LiftedTiltEncoder(eqx.Module):
    """Encode the sum of what all tilts say in the frame of the molecule, each by its place.

    One image of a series shows next to nothing, and whatever looks at images one by one learns
    nothing from them: the divergence from the prior wins, and all latents are alike. Lifted by
    their poses the tilts speak of the same voxels, so that evidence adds before the network sees
    it. `log_trust`: of each place in the order of exposure, learned; 0 trusts doses and CTFs as
    they stand.
    """

    network: ResidualMLP
    log_trust: Float[Array, " places"]
    scale: Float[Array, ""]
    lifting: Lifting

    def __init__(self, lifting: Lifting, outputs: int, tilts: TiltSizes, key: jax.Array) -> None:
        inputs = len(lifting.voxels) + 9
        self.network = ResidualMLP(inputs, outputs, tilts.width, tilts.layers, key=key)
        self.log_trust, self.scale = jnp.zeros(tilts.places), jnp.ones(())
        self.lifting = lifting

    def __call__(self, seen: EncoderInput) -> Float[Array, "g outputs"]:
        """Return the network's outputs for each particle; its images come in order of exposure."""
        lifted = lifted_images(self.lifting, seen) * jax.lax.stop_gradient(self.scale)
        trust = jnp.exp(self.log_trust[: seen.tilts])
        places = lifted.reshape(-1, seen.tilts, lifted.shape[1]) * trust[None, :, None]
        features = over_tilts(places.reshape(lifted.shape), seen)
        view = mean_over_tilts(seen.rotation.reshape(-1, 9), seen)
        return self.network(jnp.concatenate([features, view], axis=1))


class TiltEncoder(eqx.Module):
    """Embed every tilt image by itself, and encode the embeddings in order of exposure.

    **Source:** Rangan et al. (2024), cryoDRGN-ET; sizes as in cryoDRGN 4.3.
    """

    image: ResidualMLP
    series: ResidualMLP
    tilts: int = eqx.field(static=True)

    def __init__(
        self, inputs: int, outputs: int, width: int, depth: int, tilts: TiltSizes, key: jax.Array
    ) -> None:
        k_image, k_series = jax.random.split(key)
        self.tilts = tilts.places
        self.image = ResidualMLP(inputs, tilts.embedding, width, depth, key=k_image)
        inputs = tilts.places * tilts.embedding
        self.series = ResidualMLP(inputs, outputs, tilts.width, tilts.layers, key=k_series)

    def __call__(self, seen: EncoderInput) -> Float[Array, "g outputs"]:
        """Return the network's outputs for each particle; its images come in order of exposure."""
        flipped = phase_flipped(seen)
        embedded = self.image(jnp.concatenate([flipped.real, flipped.imag], axis=1))
        if seen.weight is not None:
            embedded = embedded * (seen.weight > 0)[:, None].astype(embedded.dtype)
        places = embedded.reshape(-1, seen.tilts * embedded.shape[1])
        empty = (self.tilts - seen.tilts) * embedded.shape[1]
        return self.series(jnp.pad(places, ((0, 0), (0, empty))))

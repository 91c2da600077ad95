"""Make the networks of a latent model, untrained."""

import equinox as eqx
import jax
import jax.numpy as jnp

from vitreous.imaging.fourier_grid import volume_to_grid
from vitreous.methods.latent.config import LatentConfig
from vitreous.methods.latent.encoder import Encoder, LiftEncoder, build_encoder
from vitreous.methods.latent.state import LatentModel
from vitreous.methods.latent.tilt_encoder import LiftedTiltEncoder, TiltSizes
from vitreous.reconstruction.foundation import Foundation
from vitreous.training.networks.decoder import Decoder
from vitreous.training.networks.positional_encoding import build_encoding
from vitreous.training.networks.residual_mlp import ResidualMLP, scaled_output


def build_model(
    config: LatentConfig,
    foundation: Foundation,
    box: int,
    band: int,
    feature_scale: float,
    keys: jax.Array,
) -> LatentModel:
    """Make decoder and, for a VAE, encoder.

    **Arguments:** `band`: outermost shell the encoder sees. `feature_scale`: 1 / standard
    deviation of lifted features. `keys`: three, for encoding, decoder and encoder.
    """
    k_encoding, k_decoder, k_encoder = keys
    size = config.encoding_size or box // 2
    encoding = build_encoding(config.encoding, box, size, config.feature_sigma, k_encoding)
    network = ResidualMLP(
        encoding.size + config.zdim,
        2 if config.domain == "fourier" else 1,
        config.decoder_width,
        config.decoder_layers,
        key=k_decoder,
        activation=config.activation,
    )
    consensus = None
    if config.consensus and foundation.consensus is not None:
        # The field starts as a small correction of the consensus.
        network = scaled_output(network, 0.1)
        consensus = volume_to_grid(jnp.asarray(foundation.consensus))
    amplitude = jnp.asarray(foundation.amplitude)
    decoder = Decoder(network, encoding, amplitude, consensus, box, config.domain)
    encoder: Encoder | None = None
    if config.kind == "vae":
        encoder = build_encoder(
            config.encoder,
            box=box,
            band=band,
            radius=foundation.radius,
            latent_size=config.zdim,
            width=config.encoder_width,
            depth=config.encoder_layers,
            key=k_encoder,
            tilts=TiltSizes(
                config.tilts or 1, config.tilt_embedding, config.tilt_layers, config.tilt_width
            ),
        )
        if isinstance(encoder, LiftEncoder | LiftedTiltEncoder):
            scale = jnp.full((), feature_scale, jnp.float32)
            encoder = eqx.tree_at(lambda e: e.scale, encoder, scale)
    return LatentModel(decoder, encoder)

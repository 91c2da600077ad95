"""CryoFIRE as a method for `training.fit`: encoder and neural field, trained by gradients alone.

The encoder guesses a pose (and a latent) for an image and its mirror image, the field predicts
both, and the better guess is improved. With known poses the same class trains the conformation
alone, on images brought into the frame of the molecule.

**Source:** Levy et al. (2022), arXiv 2210.07387.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Complex, Float, Int

from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.geometry.shift import phase_shift
from vitreous.methods.abinitio.amortised.config import AmortisedConfig, presentations
from vitreous.methods.abinitio.amortised.encoders import Encoder, LiftedEncoder, build_encoder
from vitreous.methods.abinitio.amortised.hypotheses import Layout
from vitreous.methods.abinitio.amortised.objective import (
    band_error,
    best_guess,
    latent_deviation,
    masked_weight,
    open_shells,
)
from vitreous.methods.abinitio.amortised.orbit import ALONE, PAIR, pixel_orbit
from vitreous.particles.prepare import Batch
from vitreous.reconstruction.foundation import pixel_frequencies, transfer_of
from vitreous.training.networks.decoder import Decoder
from vitreous.training.networks.divergence import bounded_log_variance, kl_divergence
from vitreous.training.networks.positional_encoding import build_encoding
from vitreous.training.networks.residual_mlp import ResidualMLP
from vitreous.training.schedules import beta_at

# Radius of the mask at the start, as CryoFIRE has it.
_FIRST_SHELL = 3


class Known(NamedTuple):
    """Hold poses that are not asked for: volume to image, and shifts in Å."""

    rotation: Float[Array, "n 3 3"]
    shift: Float[Array, "n 2"]


class Scales(NamedTuple):
    """Hold what is measured on the images before the first step.

    **Fields:** `amplitude`: root mean square signal per shell, which the field is scaled by.
    `noise`: power per shell. `radius`: of the particle in pixels.
    """

    amplitude: Float[np.ndarray, " shells"]
    noise: Float[np.ndarray, " shells"]
    radius: float


class FieldModel(eqx.Module):
    """Hold the networks: `encoder` gives poses and latents, or latents alone of known poses."""

    encoder: Encoder | LiftedEncoder | None
    decoder: Decoder


class GradientState(eqx.Module):
    """Hold all that the fit changes.

    **Fields:** `images_seen`: presentations so far; phases are counted in them, and a resumed
    fit goes on counting.
    """

    model: FieldModel
    optimizer: Any
    images_seen: Int[Array, ""]


class Guesses(NamedTuple):
    """Hold what an encoder makes of images and their turned copies, one guess after another.

    **Fields:** `rotation`, `shift` (pixels): of the copies as they are seen. `mean`,
    `log_variance`: of the latent.
    """

    rotation: Float[Array, "b g 3 3"]
    shift: Float[Array, "b g 2"]
    mean: Float[Array, "b g d"] | None
    log_variance: Float[Array, "b g d"] | None


class Gradient:
    """Train encoder and field: supplies `init` and `step` to `training.fit`."""

    def __init__(
        self,
        config: AmortisedConfig,
        pixels: FourierPixels,
        images: int,
        scales: Scales,
        known: Known | None = None,
    ) -> None:
        """**Arguments:** `pixels`: of every batch. `images`: of an epoch. `known`: true poses."""
        self.config, self.pixels, self.images, self.scales = config, pixels, images, scales
        self.known = known
        heads = 0 if known is not None else config.heads
        self.layout = Layout(heads, config.z_dim, config.variational_het)
        turns = PAIR if config.sym_loss and known is None else ALONE
        self.orbit = pixel_orbit(pixels, turns)
        self.pose_only = presentations(config.pose_only_phase, images)
        self.every = presentations(config.add_one_frequency_every, images)
        self.total = float(pixels.weight.sum())
        self.adam = optax.chain(optax.add_decayed_weights(config.wd), optax.adam(config.lr))

    def init(self, key: jax.Array) -> GradientState:
        """Make fresh networks."""
        model = self._networks(key)
        with jax.numpy_dtype_promotion("standard"):
            optimizer = self.adam.init(eqx.filter(model, _trainable(model)))
        return GradientState(model, optimizer, jnp.zeros((), jnp.int32))

    def _networks(self, key: jax.Array) -> FieldModel:
        config, box = self.config, self.pixels.box
        k_encoding, k_decoder, k_encoder = jax.random.split(key, 3)
        encoding = build_encoding("gaussian", box, config.pe_dim, config.feat_sigma, k_encoding)
        network = ResidualMLP(
            encoding.size + config.z_dim,
            1,
            config.hypervolume_dim,
            config.hypervolume_layers,
            key=k_decoder,
        )
        amplitude = jnp.asarray(self.scales.amplitude)
        decoder = Decoder(network, encoding, amplitude, None, box, "hartley")
        if self.layout.size == 0:
            return FieldModel(None, decoder)
        encoder: Encoder | LiftedEncoder
        if self.known is None:
            encoder = build_encoder(
                config.encoder,
                self.pixels,
                self.layout.size,
                width=config.encoder_width,
                layers=config.encoder_layers,
                depth_cnn=config.depth_cnn,
                channels_cnn=config.channels_cnn,
                kernel_size_cnn=config.kernel_size_cnn,
                key=k_encoder,
            )
        else:
            encoder = LiftedEncoder(
                self.pixels,
                self.scales.radius,
                self.layout.size,
                config.encoder_width // 2,
                config.encoder_layers,
                k_encoder,
            )
        return FieldModel(encoder, decoder)

    def guess(self, model: FieldModel, batch: Batch) -> Guesses:
        """Ask the encoder about images and their copies, or look poses up and ask for latents."""
        count = len(batch.pixels)
        if self.known is not None:
            rotation = self.known.rotation[batch.index][:, None]
            shift = (self.known.shift[batch.index] / batch.pixel_size[:, None])[:, None]
            if model.encoder is None:
                return Guesses(rotation, shift, None, None)
            outputs = self._encode_posed(model, batch, rotation[:, 0], shift[:, 0])
        else:
            turned = self.orbit.turn(batch.pixels).reshape(-1, len(self.pixels))
            assert model.encoder is not None
            assert not isinstance(model.encoder, LiftedEncoder)
            outputs = model.encoder(turned)
            found = self.layout.hypotheses(outputs, jnp.ones(()))
            rotation = found.rotation.reshape(count, -1, 3, 3)
            shift = found.shift.reshape(count, -1, 2)
            if self.config.no_trans:
                shift = jnp.zeros_like(shift)
        if self.config.z_dim == 0:
            return Guesses(rotation, shift, None, None)
        mean, raw = self.layout.latent(outputs)
        spread = None
        if raw is not None:
            spread = self._for_each_guess(bounded_log_variance(raw), count)
        return Guesses(rotation, shift, self._for_each_guess(mean, count), spread)

    def _for_each_guess(self, latent: Float[Array, "c d"], count: int) -> Float[Array, "b g d"]:
        """Give every head of a copy the latent of that copy."""
        return jnp.repeat(latent.reshape(count, len(self.orbit), -1), self.heads, axis=1)

    @property
    def heads(self) -> int:
        """Guesses a copy."""
        return max(self.layout.heads, 1)

    def _encode_posed(
        self,
        model: FieldModel,
        batch: Batch,
        rotation: Float[Array, "b 3 3"],
        shift: Float[Array, "b 2"],
    ) -> Float[Array, "b outputs"]:
        assert isinstance(model.encoder, LiftedEncoder)
        frequency = jnp.asarray(self.pixels.frequency) / self.pixels.box
        centred = batch.pixels * phase_shift(frequency[None], -shift)
        noise = jnp.asarray(self.scales.noise[self.pixels.shell])[None]
        gain = transfer_of(batch, self.pixels) / noise
        return model.encoder(centred * gain.astype(centred.dtype), rotation)

    def predict_images(
        self, model: FieldModel, batch: Batch, guesses: Guesses, z: Float[Array, "b g d"] | None
    ) -> Complex[Array, "b g p"]:
        """Predict each copy by each of its guesses."""
        count, several = guesses.rotation.shape[:2]
        latent = None if z is None else z.reshape(count * several, -1)
        views = model.decoder.slices(
            guesses.rotation.reshape(-1, 3, 3), jnp.asarray(self.pixels.frequency), latent
        ).reshape(count, several, -1)
        length = batch.pixel_size[:, None]
        moved = phase_shift(
            pixel_frequencies(batch, self.pixels)[:, None], guesses.shift * length[..., None]
        )
        transfer = self.orbit.turn_real(transfer_of(batch, self.pixels))
        transfer = jnp.repeat(transfer, self.heads, axis=1)
        return views * moved * transfer.astype(views.dtype)

    def step(
        self, state: GradientState, batch: Batch, key: jax.Array, progress: Float[Array, ""]
    ) -> tuple[GradientState, dict[str, Any]]:
        """Improve the networks by one batch."""
        moving, fixed = eqx.partition(state.model, _trainable(state.model))
        seen = state.images_seen
        last = self.pixels.max_shell
        marching = self.config.output_mask == "frequency_marching"
        radius = open_shells(seen, self.every, min(_FIRST_SHELL, last), last)
        radius = radius if marching else jnp.full((), last, jnp.float32)
        beta = beta_at(self.config.beta_conf, seen.astype(jnp.float32))

        def objective(moving):
            return self._loss(eqx.combine(moving, fixed), batch, seen, radius, beta, key)

        gradient, scalars = jax.grad(objective, has_aux=True)(moving)
        with jax.numpy_dtype_promotion("standard"):
            change, optimizer = self.adam.update(gradient, state.optimizer, moving)
        model = eqx.combine(eqx.apply_updates(moving, change), fixed)
        seen = seen + jnp.sum(batch.weight > 0).astype(jnp.int32)
        return GradientState(model, optimizer, seen), scalars

    def _loss(self, model, batch: Batch, seen, radius, beta, key):
        config = self.config
        guesses = self.guess(model, batch)
        count, several = guesses.rotation.shape[:2]
        z, divergence = None, jnp.zeros((count, several))
        if config.z_dim > 0:
            assert guesses.mean is not None
            z = guesses.mean
            noise = jax.random.normal(key, z.shape)
            if guesses.log_variance is not None:
                z = z + latent_deviation(guesses.log_variance) * noise
                flat = kl_divergence(
                    guesses.mean.reshape(count * several, -1),
                    guesses.log_variance.reshape(count * several, -1),
                )
                divergence = flat.reshape(count, several)
            # Random latents teach the field a consensus, and the encoder poses before shapes.
            early = seen < self.pose_only
            z = jnp.where(early, config.std_z_init * noise, z)
            divergence = jnp.where(early, 0.0, divergence)
        predicted = self.predict_images(model, batch, guesses, z)
        observed = jnp.repeat(self.orbit.turn(batch.pixels), self.heads, axis=1)
        shell, mates = jnp.asarray(self.pixels.shell), jnp.asarray(self.pixels.weight)
        weight = masked_weight(shell, mates, radius)
        p = len(self.pixels)
        error = band_error(observed.reshape(-1, p), predicted.reshape(-1, p), weight)
        best, winner = best_guess(error.reshape(count, several))
        kl = jnp.take_along_axis(divergence, winner[:, None], axis=1)[:, 0]
        real = jnp.maximum(jnp.sum(batch.weight), 1.0)
        data = jnp.sum(best * batch.weight) / real
        spent = jnp.sum(kl * batch.weight) / real
        mirrored = jnp.sum(jnp.where(winner >= self.heads, batch.weight, 0.0)) / real
        loss = data + beta * spent / self.total
        return loss, {"loss": loss, "data": data, "kl": spent, "band": radius, "mirrored": mirrored}


def _trainable(model: FieldModel) -> Any:
    """Mark the arrays that gradients move: networks, but no encodings and no scales."""
    mask = jax.tree.map(eqx.is_inexact_array, model)
    mask = eqx.tree_at(lambda m: m.decoder.amplitude, mask, False)
    return eqx.tree_at(lambda m: m.decoder.encoding.matrix, mask, False)

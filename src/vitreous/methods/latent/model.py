"""The latent model and its step: encode, decode central slices, compare, update.

One class serves the VAE, the autodecoder (free latents) and the homogeneous fit: they differ in
where a particle's latent comes from.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Complex, Float, Int

from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.imaging.fourier_grid import FourierGrid
from vitreous.imaging.slicing import slice_grid
from vitreous.methods.latent.build import build_model
from vitreous.methods.latent.config import LatentConfig
from vitreous.methods.latent.encoder_input import EncoderInput
from vitreous.methods.latent.loss import bound, squared_error
from vitreous.methods.latent.pieces import count_pieces, gradient_in_pieces
from vitreous.methods.latent.pixel_sampling import PixelSampler
from vitreous.methods.latent.pose_steps import moved_poses
from vitreous.methods.latent.state import (
    LatentModel,
    LatentState,
    Start,
    per_particle_tables,
    trainable,
)
from vitreous.particles.order import Groups, draw_from_groups, first_of_groups
from vitreous.particles.prepare import Batch
from vitreous.reconstruction.foundation import (
    Foundation,
    centred_pixels,
    known_rotation,
    transfer_of,
)
from vitreous.reconstruction.pose_correction import Pose, corrected_pose
from vitreous.training.networks.divergence import bounded_log_variance, kl_divergence
from vitreous.training.row_adam import RowTable, gather_rows
from vitreous.training.schedules import beta_at, warmup_decay

# The weight (β is the KL's) that draws an encoder to given latents, and when it has fallen to 0.
_PULL, _PULL_UNTIL = 100.0, 0.5
# The outermost shell encoders look at unless told: motion shows at low resolution.
_BAND = 14


class LatentMethod:
    """Fit a `LatentModel`: supplies `init` and `step` to `training.fit`."""

    def __init__(
        self,
        config: LatentConfig,
        foundation: Foundation,
        pixels: FourierPixels,
        images: int,
        start: Start | None = None,
        piece_rows: int | None = None,
        tilts: Groups | None = None,
    ) -> None:
        """**Arguments:** `pixels`: of every batch. `images`: how many there are. `start`: what is
        measured on the images before the first step; not needed to decode. `piece_rows`: pixels
        of a batch worked on at a time; None takes them all. `tilts`: the images of each particle,
        in order of exposure, where a particle has one latent for all of them; None gives every
        image its own.
        """
        self.config = config
        self.foundation = foundation
        self.pixels = pixels
        self.images = images
        self.start = start or Start()
        self.piece_rows = piece_rows
        self.all_tilts = tilts
        wanted = config.tilts if config.random_tilts and config.tilts else None
        self.tilts = 1 if tilts is None else min(wanted or tilts.size, tilts.size)
        self.particles = images if tilts is None else len(tilts)
        self.owner = np.arange(images, dtype=np.int32)
        if tilts is not None:
            self.owner[tilts.rows] = np.arange(len(tilts), dtype=np.int32)[:, None]
        band = _BAND if config.encoder_band is None else config.encoder_band
        self.band = min(band, pixels.max_shell) if band > 0 else pixels.max_shell
        self.band_pixels = pixels.count_up_to(self.band)
        low = min(config.low_shell if config.low_shell is not None else 12, pixels.max_shell)
        rest = len(pixels) - pixels.count_up_to(low)
        drawn = config.sampled_pixels if config.sampled_pixels is not None else max(rest // 8, 128)
        self.sampler = PixelSampler(pixels, low, drawn if config.sample else None)
        self.inverse_noise = 1 / foundation.noise[pixels.shell]
        self.total = float(pixels.weight.sum())
        self.adam = optax.chain(
            optax.clip_by_global_norm(10.0),
            optax.scale_by_adam(),
            optax.add_decayed_weights(config.weight_decay),
        )

    def groups(self, epoch: int) -> Groups | None:
        """Say which images of an epoch belong together: the tilts of each particle it uses."""
        if self.all_tilts is None:
            return None
        if self.config.random_tilts:
            return draw_from_groups(self.all_tilts, self.tilts, self.config.seed, epoch)
        return first_of_groups(self.all_tilts, self.tilts)

    def shown(self) -> Groups | None:
        """Say by which images a particle is judged in the end: those exposed first."""
        return None if self.all_tilts is None else first_of_groups(self.all_tilts, self.tilts)

    def particle_of(self, batch: Batch) -> Int[Array, " g"]:
        """Return which latent each group of images in a batch has."""
        if self.all_tilts is None:
            return batch.index
        return jnp.asarray(self.owner)[batch.index.reshape(-1, self.tilts)[:, 0]]

    def init(self, key: jax.Array) -> LatentState:
        """Make networks, optimiser state and per-particle tables."""
        config = self.config
        keys = jax.random.split(key, 4)
        model = build_model(
            config, self.foundation, self.pixels.box, self.band, self.start.feature_scale, keys[:3]
        )
        latents = None
        if config.kind == "autodecoder":
            start = 0.1 * jax.random.normal(keys[3], (self.particles, config.zdim))
            if self.start.latents is not None:
                start = jnp.asarray(self.start.latents, jnp.float32)
            latents = RowTable.start(start)
        elif config.init_latents is not None:
            led = self.start.latents
            empty = jnp.zeros((self.particles, config.zdim))
            latents = RowTable.start(empty if led is None else jnp.asarray(led, jnp.float32))
        poses = RowTable.start(jnp.zeros((self.images, 5))) if config.refine_poses else None
        return LatentState(
            model,
            self.adam.init(eqx.filter(model, trainable(model))),
            latents,
            poses,
            jnp.zeros((), jnp.int32),
        )

    def per_particle(self, state: LatentState) -> Any:
        """Mark the tables with one row a particle."""
        return per_particle_tables(state)

    def pose(self, batch: Batch, correction: Float[Array, "b 5"] | None) -> Pose:
        """Return the poses of a batch, corrected if they are refined."""
        rotation = known_rotation(batch)
        if correction is None:
            return Pose(rotation, batch.shift)
        return corrected_pose(rotation, batch.shift, correction)

    def encode(
        self,
        model: LatentModel,
        batch: Batch,
        pose: Pose,
        centred: Complex[Array, "b p"],
        ctf: Float[Array, "b p"],
    ) -> tuple[Float[Array, "g d"], Float[Array, "g d"]]:
        """Infer mean and log-variance of each particle's latent."""
        assert model.encoder is not None
        q = self.band_pixels
        rotation = jax.lax.stop_gradient(pose.rotation)
        seen = self.encoder_input(
            model.decoder.consensus,
            jax.lax.stop_gradient(centred[:, :q]),
            ctf[:, :q],
            rotation,
            batch.weight,
        )
        out = model.encoder(seen)
        return out[:, : self.config.zdim], bounded_log_variance(out[:, self.config.zdim :])

    def encoder_input(
        self,
        consensus: FourierGrid | None,
        centred: Complex[Array, "b q"],
        ctf: Float[Array, "b q"],
        rotation: Float[Array, "b 3 3"],
        weight: Float[Array, " b"],
    ) -> EncoderInput:
        """Gather what an encoder may look at, for the leading pixels of a batch."""
        q = centred.shape[1]
        expected = None
        if consensus is not None:
            frequency = jnp.asarray(self.pixels.frequency[:q])
            expected = slice_grid(consensus, rotation, frequency)
        inverse_noise = jnp.asarray(self.inverse_noise[:q])
        return EncoderInput(centred, ctf, expected, inverse_noise, rotation, weight, self.tilts)

    def step(
        self, state: LatentState, batch: Batch, key: jax.Array, progress: Float[Array, ""]
    ) -> tuple[LatentState, dict[str, Array]]:
        """Take one step of Adam on the networks and on the rows of the batch."""
        config = self.config
        mask = trainable(state.model)
        moving, fixed = eqx.partition(state.model, mask)
        particle = self.particle_of(batch)
        z = None if state.latents is None else gather_rows(state.latents, particle)
        correction = None if state.poses is None else gather_rows(state.poses, batch.index)
        beta = beta_at(config.beta_value, state.images_seen.astype(jnp.float32))

        weights = (beta, _PULL * jnp.maximum(1 - progress / _PULL_UNTIL, 0.0))
        gradient, scalars = self._gradient(moving, fixed, z, correction, batch, weights, key)
        rate = warmup_decay(
            progress, config.learning_rate, warmup=config.warmup, decay=config.decay, final=0.01
        )
        # Optax counts steps in integers and raises floats to them.
        with jax.numpy_dtype_promotion("standard"):
            updates, optimizer = self.adam.update(gradient[0], state.optimizer, moving)
        updates = jax.tree.map(lambda u: -rate * u, updates)
        model = eqx.combine(eqx.apply_updates(moving, updates), fixed)
        scalars["learning_rate"] = rate

        epoch = progress * config.epochs
        latents, poses = state.latents, state.poses
        if latents is not None and config.kind == "autodecoder":
            speed = jnp.where(epoch >= config.pretrain_latent, config.latent_rate, 0.0)
            speed = speed * rate / config.learning_rate
            is_real = jnp.max(batch.weight.reshape(particle.shape[0], -1), axis=1)
            latents = latents.update(particle, gradient[1], speed, is_real)
        if poses is not None:
            poses = moved_poses(self, poses, gradient[2], epoch, model, batch, z)
        seen = state.images_seen + jnp.sum(batch.weight > 0).astype(jnp.int32)
        return LatentState(model, optimizer, latents, poses, seen), scalars

    def _pieces(self, particles: int) -> int:
        rows = None if self.config.beta_control is not None else self.piece_rows
        return count_pieces(particles, self.tilts * self.sampler.count, rows)

    def _gradient(
        self,
        moving: LatentModel,
        fixed: LatentModel,
        z: Float[Array, "g d"] | None,
        correction: Float[Array, "b 5"] | None,
        batch: Batch,
        weights: tuple[Float[Array, ""], Float[Array, ""]],
        key: jax.Array,
    ) -> tuple[tuple[Any, Any, Any], dict[str, Array]]:
        """Differentiate the loss by networks and by the batch's rows, piece by piece."""
        particles = batch.index.shape[0] // self.tilts
        is_real = jnp.max(batch.weight.reshape(particles, -1), axis=1)
        counts = tuple(jnp.maximum(jnp.sum(weight), 1.0) for weight in (batch.weight, is_real))
        k_latent, k_pixels = jax.random.split(key)
        pixels = self.sampler(k_pixels)
        # Drawn for the whole batch, so that the pieces change nothing but the order of sums.
        noise = jax.random.normal(k_latent, (particles, self.config.zdim))

        def objective(variables, batch, noise):
            moving, z, correction = variables
            model = eqx.combine(moving, fixed)
            return self._loss(model, batch, z, correction, counts, weights, pixels, noise)

        count, differentiate = self._pieces(particles), jax.grad(objective, has_aux=True)
        return gradient_in_pieces(differentiate, (moving, z, correction), batch, noise, count)

    def _loss(
        self,
        model: LatentModel,
        batch: Batch,
        latents: Float[Array, "g d"] | None,
        poses: Float[Array, "b 5"] | None,
        counts: tuple[Float[Array, ""], Float[Array, ""]],
        weights: tuple[Float[Array, ""], Float[Array, ""]],
        pixels: tuple[Int[Array, " s"], Float[Array, " s"]],
        noise: Float[Array, "g d"],
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        pose = self.pose(batch, poses)
        centred = centred_pixels(batch, self.pixels, pose.shift)
        ctf = transfer_of(batch, self.pixels)
        divergence = jnp.zeros(batch.index.shape[0] // self.tilts)
        z, away = latents, None
        if model.encoder is not None:
            mean, log_variance = self.encode(model, batch, pose, centred, ctf)
            z = mean + jnp.exp(0.5 * log_variance) * noise
            divergence = kl_divergence(mean, log_variance)
            if latents is not None:
                away = 0.5 * jnp.sum((mean - jax.lax.stop_gradient(latents)) ** 2, axis=-1)
        elif latents is not None:
            # The KL divergence of a point estimate, up to its constant: a unit Gaussian prior.
            divergence = 0.5 * jnp.sum(latents**2, axis=-1)
        if z is not None and self.tilts > 1:
            # All tilts of a particle show the same state.
            z = jnp.repeat(z, self.tilts, axis=0)
        chosen, sampling = pixels
        frequency = jnp.asarray(self.pixels.frequency)[chosen]
        sliced = model.decoder.slices(pose.rotation, frequency, z)
        predicted = ctf[:, chosen].astype(sliced.dtype) * sliced
        weight = jnp.asarray(self.pixels.weight * self.inverse_noise)[chosen] * sampling
        error = squared_error(centred[:, chosen], predicted, weight, self.total)
        control, (beta, pull) = self.config.beta_control, weights
        loss, scalars = bound(error, divergence, batch.weight, *counts, self.total, beta, control)
        if away is not None:
            is_real = jnp.max(batch.weight.reshape(away.shape[0], -1), axis=1)
            loss += pull * jnp.sum(away * is_real) / counts[0] / self.total
        return loss, scalars

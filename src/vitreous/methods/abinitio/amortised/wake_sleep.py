"""Wake–sleep as a method for `training.fit`: dream, learn, propose, judge, insert, repeat.

A step trains the encoder on a few batches of dreams, then poses one batch of real images and adds
them to the sums of a backprojection. When enough images are in, the sums become the next volume,
so a cycle has the same length for sets of any size.

**Source:** Hinton et al. (1995) Science 268, 1158; Bornschein & Bengio (2015), arXiv 1406.2751.
"""

import logging
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from vitreous.geometry.point_groups import point_group
from vitreous.geometry.rotations import geodesic_distance
from vitreous.methods.abinitio.amortised.config import AmortisedConfig
from vitreous.methods.abinitio.amortised.encoders import Encoder, build_encoder
from vitreous.methods.abinitio.amortised.frame import Frame, mean_of_shells
from vitreous.methods.abinitio.amortised.hypotheses import Layout
from vitreous.methods.abinitio.amortised.orbit import ALONE, D4, pixel_orbit
from vitreous.methods.abinitio.amortised.reference import (
    Reference,
    next_band,
    reference_table,
    spectra,
)
from vitreous.methods.abinitio.amortised.sleep import sleep
from vitreous.methods.abinitio.amortised.wake import Sight, draw, predicted, propose
from vitreous.particles.prepare import Batch
from vitreous.reconstruction.backprojection import image_sums, insert_images
from vitreous.reconstruction.finish import finish_halves
from vitreous.reconstruction.insertion import empty_table
from vitreous.training.schedules import linear_ramp, warmup_decay

logger = logging.getLogger(__name__)

# Sums of older cycles that stay when the next begins: none at first, while poses still wander.
_MEMORY = 0.75
# Share of the training from which residuals are believed to be noise, and wholly so.
_TRUST = (0.6, 0.8)
# A share of shifts so near the end of the range says that the range is too small.
_PRESSED, _NEAR = 0.05, 0.9


class WakeSleepState(eqx.Module):
    """Hold all that the fit changes.

    **Fields:** `sums`: table of the backprojection. `residual`: power that the volume leaves in
    images, per shell, summed over `seen` images since the last volume. `dreams`: simulated so
    far. `reach`: range of shifts, pixels of the small box. `rotation`, `shift`, `score`: of the
    last visit of each image.
    """

    encoder: Encoder
    optimizer: Any
    reference: Reference
    sums: Float[Array, "rows channels"]
    residual: Float[Array, " shells"]
    seen: Float[Array, ""]
    dreams: Int[Array, ""]
    reach: Float[Array, ""]
    rotation: Float[Array, "n 3 3"]
    shift: Float[Array, "n 2"]
    score: Float[Array, " n"]


class WakeSleep:
    """Find poses by wake and sleep: supplies `init` and `step` to `training.fit`."""

    def __init__(
        self,
        config: AmortisedConfig,
        frame: Frame,
        halves: Int[np.ndarray, " n"],
        density: Float[np.ndarray, " radii"],
        first: Reference | None = None,
    ) -> None:
        """**Arguments:** `halves`: half set of each image. `density`: see `expected_density`.

        `first`: what to begin with; not needed to go on from a checkpoint.
        """
        self.config, self.frame = config, frame
        self.halves = jnp.asarray(halves, jnp.int32)
        self.density = jnp.asarray(density)
        self.first = first
        # An encoder to begin with.
        self.trained: Encoder | None = None
        self.layout = Layout(config.heads)
        self.orbit = pixel_orbit(frame.pixels, D4 if config.equivariant else ALONE)
        self.group = point_group(config.symmetry)
        self.cycle = min(config.cycle_images, len(halves))
        self.radius = config.particle_share * frame.box / 2
        self.adam = optax.chain(
            optax.clip_by_global_norm(10.0),
            optax.add_decayed_weights(config.wd),
            optax.scale_by_adam(),
        )

    def init(self, key: jax.Array) -> WakeSleepState:
        """Make an untrained encoder and the first volume."""
        config, frame = self.config, self.frame
        encoder = self.untrained(key) if self.trained is None else self.trained
        count = len(self.halves)
        reference = self.first
        if reference is None:
            rows = frame.geometry.grid.voxels
            blank = jnp.zeros(frame.shells)
            band = jnp.int32(config.start_band)
            fsc = jnp.zeros(frame.box // 2)
            reference = Reference(jnp.zeros((2 * rows, 2)), blank, blank, blank, band, fsc)
        with jax.numpy_dtype_promotion("standard"):
            optimizer = self.adam.init(eqx.filter(encoder, eqx.is_inexact_array))
        return WakeSleepState(
            encoder,
            optimizer,
            reference,
            empty_table(frame.geometry.grid, groups=2),
            jnp.zeros(frame.shells),
            jnp.zeros(()),
            jnp.zeros((), jnp.int32),
            jnp.full((), config.shift_range(frame.image_box) / frame.shrink, jnp.float32),
            jnp.broadcast_to(jnp.eye(3), (count, 3, 3)),
            jnp.zeros((count, 2)),
            jnp.zeros(count),
        )

    def untrained(self, key: jax.Array) -> Encoder:
        """Make a fresh encoder."""
        config = self.config
        return build_encoder(
            config.encoder,
            self.frame.pixels,
            self.layout.size,
            width=config.encoder_width,
            layers=config.encoder_layers,
            depth_cnn=config.depth_cnn,
            channels_cnn=config.channels_cnn,
            kernel_size_cnn=config.kernel_size_cnn,
            key=key,
        )

    def step(
        self, state: WakeSleepState, batch: Batch, key: jax.Array, progress: Float[Array, ""]
    ) -> tuple[WakeSleepState, dict[str, Any]]:
        """Dream and learn, then pose a batch."""
        config, frame = self.config, self.frame
        k_sleep, k_wake = jax.random.split(key)
        batch = frame.crop(batch)
        transfer = frame.transfer(batch)
        rate = warmup_decay(progress, config.sleep_rate, warmup=0.01, final=0.05)

        def update(moving, gradient, optimizer):
            with jax.numpy_dtype_promotion("standard"):
                change, optimizer = self.adam.update(gradient, optimizer, moving)
            return jax.tree.map(lambda p, u: p - rate * u, moving, change), optimizer

        encoder, optimizer, loss = sleep(
            state.encoder,
            state.optimizer,
            update,
            state.reference,
            transfer,
            state.reach,
            self.group,
            self.layout,
            config.assignment,
            frame,
            k_sleep,
            steps=config.sleep_steps,
            batch=config.sleep_batch,
        )
        dreams = state.dreams + config.sleep_steps * config.sleep_batch
        state = eqx.tree_at(
            lambda s: (s.encoder, s.optimizer, s.dreams), state, (encoder, optimizer, dreams)
        )
        awake = dreams >= config.first_dreams
        none = jnp.zeros(())
        state, moved, score = jax.lax.cond(
            awake,
            lambda s: self._wake(s, batch, transfer, k_wake),
            lambda s: (s, none, none),
            state,
        )
        state = jax.lax.cond(
            state.seen >= self.cycle,
            lambda s: self._next_volume(s, transfer, progress),
            lambda s: s,
            state,
        )
        agree = jnp.sum(jnp.cumprod((state.reference.fsc[1:] > 0.143).astype(jnp.float32)))
        scalars = {
            "loss": loss,
            "score": score,
            "moved": moved,
            "band": state.reference.band.astype(jnp.float32),
            "shells_agreeing": agree,
        }
        return state, scalars

    def _wake(
        self, state: WakeSleepState, batch: Batch, transfer: Float[Array, "b p"], key: jax.Array
    ) -> tuple[WakeSleepState, Float[Array, ""], Float[Array, ""]]:
        frame, k = self.frame, jax.random.split(key)
        halves = self.halves[batch.index]
        sight = Sight(batch.pixels, transfer, halves, frame.stretch(batch))
        proposals = propose(
            state.encoder, sight, state.reference, self.orbit, self.layout, state.reach, frame
        )
        rotation, shift, score = draw(proposals, self.config.temperature, k[0])
        model = predicted(sight, rotation[:, None], shift[:, None], state.reference, frame)[:, 0]
        left = batch.pixels - model
        square = (left.real**2 + left.imag**2) * batch.weight[:, None]
        real = jnp.sum(batch.weight)
        power = mean_of_shells(square, frame) * (len(square) / jnp.maximum(real, 1.0)) * real
        # A symmetric volume is as likely in any of its copies: drawing one symmetrises the map.
        copy = jax.random.randint(k[1], (len(rotation),), 0, len(self.group))
        turned = jnp.einsum("bij,bjk->bik", rotation, jnp.asarray(self.group, jnp.float32)[copy])
        slices = frame.slices(batch, turned, shift, halves, batch.weight)
        sums = insert_images(state.sums, slices, self.density, frame.geometry)
        angle = geodesic_distance(state.rotation[batch.index], rotation)
        moved = jnp.sum(angle * batch.weight) / jnp.maximum(real, 1.0)
        rows = jnp.where(batch.weight > 0, batch.index, len(state.rotation))

        def put(table, new):
            return table.at[rows].set(new, mode="drop")

        state = eqx.tree_at(
            lambda s: (s.sums, s.residual, s.seen, s.rotation, s.shift, s.score),
            state,
            (
                sums,
                state.residual + power,
                state.seen + real,
                put(state.rotation, rotation),
                put(state.shift, shift),
                put(state.score, score),
            ),
        )
        return state, moved, jnp.sum(score * batch.weight) / jnp.maximum(real, 1.0)

    def _next_volume(
        self, state: WakeSleepState, transfer: Float[Array, "b p"], progress: Float[Array, ""]
    ) -> WakeSleepState:
        frame = self.frame
        sums = image_sums(state.sums, self.density, frame.geometry)
        consensus = finish_halves(sums, frame.max_shell)
        table = reference_table(consensus, frame, self.config.join_shell, self.radius)
        noise = self._noise(state, progress)
        rotation = state.rotation[: len(transfer)]
        start = min(self.config.start_band, frame.max_shell)
        band = next_band(consensus.fsc, state.reference.band, progress, frame, start)
        reference = spectra(table, noise, rotation, transfer, band, consensus.fsc, frame)
        kept = linear_ramp(progress, 0.25, 0.75, 0.0, _MEMORY)
        return eqx.tree_at(
            lambda s: (s.reference, s.sums, s.residual, s.seen),
            state,
            (reference, state.sums * kept, jnp.zeros_like(state.residual), jnp.zeros(())),
        )

    def _noise(self, state: WakeSleepState, progress: Float[Array, ""]) -> Float[Array, " shells"]:
        """Choose the noise: white at first, what the volume leaves in each shell later.

        While the volume is wrong its errors would count as noise, and hide that it is wrong.
        """
        residual = state.residual / state.seen
        white = jnp.minimum(jnp.min(state.reference.noise), jnp.min(residual[1:]))
        measured = linear_ramp(progress, *_TRUST, 0.0, 1.0)
        return jnp.maximum(white + measured * jnp.maximum(residual - white, 0.0), 1e-6)

    def end_of_epoch(self, state: WakeSleepState, epoch: int) -> WakeSleepState:
        """Widen the range of shifts where poses press against it."""
        reach = float(state.reach)
        pressed = float(jnp.mean(jnp.max(jnp.abs(state.shift), axis=1) > _NEAR * reach))
        if pressed < _PRESSED or reach > self.frame.box / 4:
            return state
        pixels = 1.5 * reach * self.frame.shrink
        logger.info(
            "%.0f %% of shifts lie at the end of their range: widening it to ±%.1f pixels",
            100 * pressed,
            pixels,
        )
        return eqx.tree_at(lambda s: s.reach, state, state.reach * np.float32(1.5))

    def per_particle(self, state: WakeSleepState) -> Any:
        """Mark the tables of poses."""
        marks = jax.tree.map(lambda _: False, state)
        return eqx.tree_at(lambda s: (s.rotation, s.shift, s.score), marks, (True, True, True))

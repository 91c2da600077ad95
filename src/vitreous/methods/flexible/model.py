"""The step of a flexible fit: latents by Gauss–Newton, Gaussians and field by Adam.

Images come in pairs, one of each half set, and the two halves' models stand stacked: one compiled
step trains both, though neither ever sees an image of the other.
"""

import operator
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.methods.flexible.balance import Balance, balanced, gradient_norm
from vitreous.methods.flexible.config import FlexibleConfig
from vitreous.methods.flexible.encoder import EncoderStart, Encoding, Taught
from vitreous.methods.flexible.images import Images, Seen
from vitreous.methods.flexible.inference import best_of, draw_latents, newton_step
from vitreous.methods.flexible.loss import Loss
from vitreous.methods.flexible.noise import residual_power, updated_noise
from vitreous.methods.flexible.pairs import paired_images
from vitreous.methods.flexible.pose_frame import framed
from vitreous.methods.flexible.posed import Posing, Told
from vitreous.methods.flexible.repulsion import no_pairs, pairs_of_halves
from vitreous.methods.flexible.start import Start
from vitreous.methods.flexible.state import FlexibleState, Moving, stacked
from vitreous.particles.order import Groups
from vitreous.particles.prepare import Batch
from vitreous.training.row_adam import RowTable, gather_rows
from vitreous.training.schedules import warmup_decay

# Share of the training after which springs keep their weight.
FROZEN_FROM = 0.8
# How fast the encoder follows the latents.
_ENCODER = 2e-3
# Poses have so many epochs before anything moves: else motion would explain their errors.
_POSE_EPOCHS = 4


class Course(NamedTuple):
    """Say where in a fit a step is.

    **Fields:** `progress`: share that lies behind. `moves`: 1 once things move, 0 before.
    `poses`: whether these are improved, too.
    """

    progress: Float[Array, ""]
    moves: Float[Array, ""]
    poses: Bool[Array, ""]


class Half(NamedTuple):
    """Hold what a step changes of a half set, besides rows of tables."""

    model: Moving
    optimizer: optax.OptState
    balance: Balance
    taught: Taught | None


class Rows(NamedTuple):
    """Hold rows of the tables, of a batch: latents, and corrections of poses."""

    z: Float[Array, "b d"]
    poses: Float[Array, "b 5"] | None


class FlexibleMethod:
    """Fit Gaussians that move: supplies `init` and `step` to `training.fit`."""

    def __init__(
        self,
        config: FlexibleConfig,
        start: Start,
        pixels: FourierPixels,
        pixel_size: float,
        half: Int[np.ndarray, " n"],
        group: Int[np.ndarray, " n"],
    ) -> None:
        """**Arguments:** `pixels`: of every batch; those up to the start's shell are used.

        `half`: 0 or 1, `group`: optics group, of each image.
        """
        self.config, self.start, self.pixel_size = config, start, pixel_size
        self.pixels, self.half, self.group = pixels, half, group
        self.images = Images(start, pixels.box, pixel_size, group, config.projection)
        self.encoding = Encoding(config, start, self.images)
        # Only a fit that has not begun needs it.
        self.encoder_start: EncoderStart | None = None
        # Those given; only a fit that refines poses needs them.
        self.rotation: Float[np.ndarray, "n 3 3"] | None = None
        self.warmup = config.warmup
        if config.refine_poses:
            self.warmup = min(config.warmup + _POSE_EPOCHS, config.epochs - 1)
        # A start that knows the motion was laid on one conformation: at rest it fits no image.
        if start.latents is not None:
            self.warmup = 0
        band = self.images.band
        self.shell, self.mates = band.shell, band.weight
        self.loss = Loss(start, self.images, len(half))
        self.adam = optax.scale_by_adam(b2=0.99)

    def groups(self, epoch: int) -> Groups:
        """Pair images of the two halves, anew in every epoch."""
        return paired_images(self.half, self.config.seed, epoch)

    def init(self, key: jax.Array) -> FlexibleState:
        """Make both halves' models, optimiser states and the table of latents."""
        keys = jax.random.split(key, 5)
        model = stacked(*(self.start.moving(self.config, k) for k in keys[:2]))
        n, d = len(self.half), self.config.zdim
        latents = 0.5 * jax.random.normal(keys[2], (n, d))
        if self.start.latents is not None:
            latents = jnp.asarray(self.start.latents)
        elif self.encoder_start is not None:
            latents = jnp.asarray(self.encoder_start.latents)
        taught = None
        if self.config.encoder:
            taught = stacked(*(self.encoding.init(self.encoder_start, k) for k in keys[3:]))
        near = None
        if self.config.repulsion:
            near = jnp.asarray(np.stack([no_pairs(len(self.start.gaussians))] * 2))
        return FlexibleState(
            model,
            jax.vmap(self.adam.init)(eqx.filter(model, eqx.is_inexact_array)),
            jnp.asarray(latents, jnp.float32),
            RowTable.start(jnp.zeros((n, 5))) if self.config.refine_poses else None,
            Balance.begin(2),
            jnp.asarray(self.start.noise, jnp.float32),
            taught,
            near,
        )

    def per_particle(self, state: FlexibleState) -> Any:
        """Mark the tables with one row a particle."""
        mark = jax.tree.map(lambda _: False, state)
        mark = eqx.tree_at(operator.attrgetter("latents"), mark, True)
        if state.poses is not None:
            tables = jax.tree.map(lambda _: True, state.poses)
            mark = eqx.tree_at(operator.attrgetter("poses"), mark, tables)
        return mark

    def end_of_epoch(self, state: FlexibleState, epoch: int) -> FlexibleState:
        """Take motion out of the poses' corrections; look up anew which Gaussians may meet."""
        if self.rotation is not None and epoch > self.warmup:
            state = framed(state, self.half, self.rotation)
        if state.near is None or epoch < self.warmup:
            return state
        latents, seed = np.asarray(state.latents), [self.config.seed, epoch]
        near = pairs_of_halves(state.model, latents, self.half, self.start.edges, seed)
        return eqx.tree_at(operator.attrgetter("near"), state, near)

    def step(
        self, state: FlexibleState, batch: Batch, key: jax.Array, progress: Float[Array, ""]
    ) -> tuple[FlexibleState, dict[str, Array]]:
        """Take one step with pairs of images."""
        poses = None if state.poses is None else gather_rows(state.poses, batch.index)
        rows = Rows(state.latents[batch.index], poses)
        by_half, rows = (
            jax.tree.map(lambda x: jnp.swapaxes(_fold(x, 2), 0, 1), tree) for tree in (batch, rows)
        )
        epoch = progress * self.config.epochs
        moves = (epoch >= self.warmup).astype(jnp.float32)
        due = jnp.floor(epoch) >= self.config.pretrain_poses
        course = Course(progress, moves, due)
        halves = Half(state.model, state.optimizer, state.balance, state.taught)
        arrays, rest = eqx.partition(halves, eqx.is_array)

        def on_arrays(arrays, *given):
            half, *others = self._half_step(eqx.combine(arrays, rest), *given, state.noise, course)
            return eqx.filter(half, eqx.is_array), *others

        keys = jax.random.split(key, 2)
        axes = (0, 0, 0, None if state.near is None else 0, 0)
        found = jax.vmap(on_arrays, in_axes=axes)(arrays, by_half, rows, state.near, keys)
        arrays, rows, power, scalars = found
        half = eqx.combine(arrays, rest)
        index, weight = batch.index, batch.weight
        target = jnp.where(weight > 0, index, len(self.half))
        latents = state.latents.at[target].set(_unfold(rows.z), mode="drop")
        table = state.poses
        if table is not None:
            table = table.put(index, _unfold(rows.poses), weight)
        new = FlexibleState(
            *(half.model, half.optimizer, latents, table, half.balance),
            updated_noise(state.noise, power[0].sum(0), power[1].sum(0)),
            *(half.taught, state.near),
        )
        return new, {name: jnp.mean(value) for name, value in scalars.items()}

    def _half_step(self, half: Half, batch, rows: Rows, near, key, noise, course: Course):
        """Move rows of one half, then its model."""
        model, taught, scalars = half.model, half.taught, {}
        seen = self.images.see(batch, noise, rows.poses)
        z, lifted = rows.z, None
        if taught is not None:
            z, lifted = self._encoded(taught, model, seen, z)
        linear = self.images.linearise(model, seen)
        z, here = newton_step(linear, seen.observed, z, self.config.kld)
        if taught is not None and lifted is not None:
            taught, scalars["encoder_error"] = self.encoding.learn(
                taught, lifted, seen, z, batch.weight, course.moves * self._rate(course, _ENCODER)
            )
        z = jnp.where(course.moves > 0, z, rows.z)
        drawn = draw_latents(here, z, jax.random.normal(key, z.shape)) * course.moves
        poses = given = rows.poses
        if given is not None:
            posing = Posing(self.images, batch, noise, self.config.pose_spread, self.config.kld)
            other = jax.random.fold_in(key, 1)
            z, poses, drawn, held = jax.lax.cond(
                course.poses,
                lambda: posing.improve(model, z, given, course.moves, other),
                lambda: Told(z, given, drawn, given),
            )
            seen = self.images.see(batch, noise, held)
        slope, square, balance, more = self._slope(half, batch, seen, drawn, near, course)
        arrays, rest = eqx.partition(model, eqx.is_inexact_array)
        with jax.numpy_dtype_promotion("standard"):
            updates, optimizer = self.adam.update(slope, half.optimizer, arrays)
        rates = self._rates(arrays, course)
        arrays = jax.tree.map(lambda x, u, r: x - r * u, arrays, updates, rates)
        group = jnp.asarray(self.group)[batch.index]
        power = residual_power(square, batch.weight, group, self.shell, self.mates, noise)
        scalars |= more | {"latent_spread": jnp.sqrt(jnp.mean(z * z))}
        moved = Half(eqx.combine(arrays, rest), optimizer, balance, taught)
        return moved, Rows(z, poses), power, scalars

    def _encoded(self, taught: Taught, model: Moving, seen: Seen, z: Float[Array, "b d"]):
        """Take what the encoder says where images are likelier there; also what it looked at."""
        lifted = self.encoding.lifted(model.gaussians, seen)
        told = taught.encoder(lifted, seen.rotation)
        predict = self.images.predict(model, seen)
        return best_of(predict, seen.observed, jnp.stack([z, told]), self.config.kld), lifted

    def _slope(self, half: Half, batch: Batch, seen: Seen, drawn, near, course: Course):
        """Differentiate by the model: images, and springs as they are weighed against them."""
        arrays, rest = eqx.partition(half.model, eqx.is_inexact_array)
        share = batch.weight / jnp.maximum(jnp.sum(batch.weight), 1.0)

        def data(arrays):
            return self.loss.of_images(eqx.combine(arrays, rest), seen, drawn, share)

        def springs(arrays):
            return self.loss.of_springs(eqx.combine(arrays, rest), drawn, share, near)

        (_, (error, square)), slope = jax.value_and_grad(data, has_aux=True)(arrays)
        energy, bent = jax.value_and_grad(springs)(arrays)
        balance = balanced(
            half.balance,
            gradient_norm(slope.deformation),
            gradient_norm(bent.deformation),
            self.config.regularization,
            course.moves > 0,
            course.progress >= FROZEN_FROM,
        )
        slope = jax.tree.map(lambda a, b: a + balance.weight * b, slope, bent)
        scalars = {"loss": error, "springs": energy, "balance": balance.weight}
        return slope, square, balance, scalars

    def _rate(self, course: Course, most: float, warmup: float = 0.0) -> Float[Array, ""]:
        return warmup_decay(course.progress, most, warmup=warmup, decay="cosine", final=0.01)

    def _rates(self, arrays: Moving, course: Course) -> Any:
        """Say how far each array goes in a step."""
        config = self.config
        field = course.moves * self._rate(course, config.learning_rate, 0.02)
        share = self._rate(course, config.gaussian_rate)
        rates = jax.tree.map(lambda _: field, arrays)
        width = float(np.median(np.exp(np.asarray(self.start.gaussians.log_width))))
        return eqx.tree_at(
            lambda m: (m.gaussians.positions, m.gaussians.log_amplitude, m.gaussians.log_width),
            rates,
            (share * width, share, share),
        )


def _fold(x: Array, size: int) -> Array:
    return x.reshape(-1, size, *x.shape[1:])


def _unfold(x: Array) -> Array:
    """Put the halves' rows side by side again, as the batch has them."""
    return jnp.swapaxes(x, 0, 1).reshape(-1, *x.shape[2:])

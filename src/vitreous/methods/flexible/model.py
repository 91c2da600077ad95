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
from jaxtyping import Array, Complex, Float, Int

from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.methods.flexible.balance import Balance, balanced, gradient_norm
from vitreous.methods.flexible.config import FlexibleConfig
from vitreous.methods.flexible.elastic import edge_lengths, elastic_energy
from vitreous.methods.flexible.gaussian_model import GaussianModel
from vitreous.methods.flexible.inference import (
    Linearised,
    Predict,
    draw_latents,
    linearised,
    newton_step,
)
from vitreous.methods.flexible.noise import residual_power, updated_noise
from vitreous.methods.flexible.pairs import paired_images
from vitreous.methods.flexible.rendering import Renderer
from vitreous.methods.flexible.start import Start
from vitreous.methods.flexible.state import FlexibleState, Moving, stacked
from vitreous.particles.order import Groups
from vitreous.particles.prepare import Batch
from vitreous.reconstruction.foundation import (
    centred_pixels,
    known_rotation,
    transfer_of,
)
from vitreous.reconstruction.pose_correction import Pose, corrected_pose
from vitreous.training.row_adam import RowTable, gather_rows
from vitreous.training.schedules import warmup_decay

# Share of the training after which springs keep their weight.
FROZEN_FROM = 0.8
# Standard deviation of a Gaussian's logarithms about where they start.
_LOOSENESS = 0.5


class Seen(NamedTuple):
    """Hold what a model is compared with: whitened centred pixels, and what whitens a prediction.

    **Fields:** `observed` `(b, p)`; `filter`: CTF over the noise's deviation `(b, p)`; `rotation`;
    `stretch`: Å of the model's frame per Å of the image's, where magnifications differ `(b,)`.
    """

    observed: Complex[Array, "b p"]
    filter: Float[Array, "b p"]
    rotation: Float[Array, "b 3 3"]
    stretch: Float[Array, " b"]


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
        self.band = FourierPixels(pixels.box, start.shell)
        self.count = len(self.band)
        self.renderer = Renderer(
            pixels.box, pixel_size, start.shell, start.width_bounds, config.projection
        )
        # A start that knows the motion was laid on one conformation: at rest it fits no image.
        self.warmup = config.warmup if start.latents is None else 0
        self.shell, self.mates = self.band.shell, self.band.weight
        self.total = float(self.mates.sum())
        self.adam = optax.scale_by_adam(b2=0.99)

    def groups(self, epoch: int) -> Groups:
        """Pair images of the two halves, anew in every epoch."""
        return paired_images(self.half, self.config.seed, epoch)

    def init(self, key: jax.Array) -> FlexibleState:
        """Make both halves' models, optimiser states and the table of latents."""
        keys = jax.random.split(key, 3)
        first, second = (self.start.moving(self.config, k) for k in keys[:2])
        model = stacked(first, second)
        n, d = len(self.half), self.config.zdim
        latents = 0.5 * jax.random.normal(keys[2], (n, d))
        if self.start.latents is not None:
            latents = jnp.asarray(self.start.latents)
        return FlexibleState(
            model,
            jax.vmap(self.adam.init)(eqx.filter(model, eqx.is_inexact_array)),
            jnp.asarray(latents, jnp.float32),
            RowTable.start(jnp.zeros((n, 5))) if self.config.refine_poses else None,
            Balance.begin(2),
            jnp.asarray(self.start.noise, jnp.float32),
        )

    def per_particle(self, state: FlexibleState) -> Any:
        """Mark the tables with one row a particle."""
        mark = jax.tree.map(lambda _: False, state)
        mark = eqx.tree_at(operator.attrgetter("latents"), mark, True)
        if state.poses is not None:
            tables = jax.tree.map(lambda _: True, state.poses)
            mark = eqx.tree_at(operator.attrgetter("poses"), mark, tables)
        return mark

    def see(
        self,
        batch: Batch,
        noise: Float[Array, "o shells"],
        correction: Float[Array, "b 5"] | None = None,
    ) -> Seen:
        """Whiten a batch up to the last shell in use."""
        pose = Pose(known_rotation(batch), batch.shift)
        if correction is not None:
            pose = corrected_pose(pose.rotation, pose.shift, correction)
        # Pixels are listed by shell: those of the band come first.
        batch = batch._replace(pixels=batch.pixels[:, : self.count])
        power = noise[jnp.asarray(self.group)[batch.index]][:, jnp.asarray(self.shell)]
        whitening = jnp.sqrt(jnp.asarray(self.mates)[None] / power)
        centred = centred_pixels(batch, self.band, pose.shift)
        return Seen(
            centred * whitening.astype(centred.dtype),
            transfer_of(batch, self.band) * whitening,
            pose.rotation,
            self.pixel_size / batch.pixel_size,
        )

    def predict(self, model: Moving, seen: Seen) -> Predict:
        """Return the function from latents to whitened images."""
        gaussians = model.gaussians

        def images(z: Float[Array, "b d"]) -> Complex[Array, "b p"]:
            moved = gaussians.atoms(model.deformation(gaussians.positions, z))
            where = moved.position * seen.stretch[:, None, None]
            drawn = self.renderer(moved._replace(position=where), seen.rotation)
            return drawn * seen.filter.astype(drawn.dtype)

        return images

    def linearise(self, model: Moving, seen: Seen) -> Linearised:
        """Return the same with how images change along each latent dimension."""
        gaussians, field = model.gaussians, model.deformation
        if self.renderer.chosen(len(gaussians)) == "separable":
            return linearised(self.predict(model, seen))

        def both(z: Float[Array, "b d"]):
            moved, along = jax.linearize(lambda z: field(gaussians.positions, z), z)
            axes = jnp.eye(z.shape[1], dtype=z.dtype)
            directions = jax.vmap(lambda one: along(jnp.broadcast_to(one, z.shape)))(axes)
            stretch = seen.stretch[:, None, None]
            atoms = gaussians.atoms(moved)
            atoms = atoms._replace(position=atoms.position * stretch)
            value = self.renderer(atoms, seen.rotation)
            slopes = self.renderer.slopes(atoms, seen.rotation, directions * stretch[None])
            factor = seen.filter.astype(value.dtype)
            return value * factor, slopes * factor[None]

        return both

    def step(
        self, state: FlexibleState, batch: Batch, key: jax.Array, progress: Float[Array, ""]
    ) -> tuple[FlexibleState, dict[str, Array]]:
        """Take one step with pairs of images."""
        by_half = jax.tree.map(lambda x: jnp.swapaxes(_fold(x, 2), 0, 1), batch)
        keys = jax.random.split(key, 2)
        poses = state.poses
        corrected = None
        if poses is not None:
            corrected = jnp.swapaxes(_fold(gather_rows(poses, batch.index), 2), 0, 1)
        moving_now = (progress * self.config.epochs >= self.warmup).astype(jnp.float32)

        def one(model, optimizer, balance, batch, correction, key):
            return self._half_step(
                (model, optimizer, balance), batch, correction, state, key, progress, moving_now
            )

        axes = (0, 0, 0, 0, None if corrected is None else 0, 0)
        parts = eqx.partition(state.model, eqx.is_array)
        given = (state.optimizer, state.balance, by_half, corrected, keys)

        def on_arrays(arrays, *rest):
            model, *others = one(eqx.combine(arrays, parts[1]), *rest)
            return eqx.filter(model, eqx.is_array), *others

        found = jax.vmap(on_arrays, in_axes=axes)(parts[0], *given)
        arrays, optimizer, balance, z, turned, power, scalars = found
        index, weight = batch.index, batch.weight
        target = jnp.where(weight > 0, index, len(self.half))
        latents = state.latents.at[target].set(_unfold(z), mode="drop")
        if poses is not None:
            rate = self.config.pose_rate * moving_now
            poses = poses.update(index, _unfold(turned), rate, weight)
        new = FlexibleState(
            eqx.combine(arrays, parts[1]),
            *(optimizer, latents, poses, balance),
            updated_noise(state.noise, power[0].sum(0), power[1].sum(0)),
        )
        return new, {name: jnp.mean(value) for name, value in scalars.items()}

    def _half_step(self, trained, batch, correction, state, key, progress, moving_now):
        """Move one half's latents, then its model."""
        model, optimizer, balance = trained
        config = self.config
        z = state.latents[batch.index]
        seen = self.see(batch, state.noise, correction)
        z, here = newton_step(self.linearise(model, seen), seen.observed, z, config.kld)
        z = jnp.where(moving_now > 0, z, here.mean)
        drawn = draw_latents(here, z, jax.random.normal(key, z.shape)) * moving_now
        parts = eqx.partition(model, eqx.is_inexact_array)
        count = jnp.maximum(jnp.sum(batch.weight), 1.0)

        def data(variables):
            arrays, correction = variables
            whole = eqx.combine(arrays, parts[1])
            compared = self.see(batch, state.noise, correction)
            left = compared.observed - self.predict(whole, compared)(drawn)
            square = left.real**2 + left.imag**2
            error = jnp.sum(jnp.sum(square, axis=1) * batch.weight) / (count * self.total)
            return error + self._tightness(whole.gaussians), (error, square)

        def springs(arrays):
            whole = eqx.combine(arrays, parts[1])
            positions = whole.gaussians.positions
            moved = positions[None] + whole.deformation(positions, drawn)
            edges = jnp.asarray(self.start.edges)
            rest = edge_lengths(positions, edges)
            return elastic_energy(moved, rest, edges, batch.weight / count)

        (_, (error, square)), (slope, turned) = jax.value_and_grad(data, has_aux=True)(
            (parts[0], correction)
        )
        energy, bent = jax.value_and_grad(springs)(parts[0])
        sizes = gradient_norm(slope.deformation), gradient_norm(bent.deformation)
        balance = balanced(
            balance, *sizes, config.regularization, moving_now > 0, progress >= FROZEN_FROM
        )
        slope = jax.tree.map(lambda a, b: a + balance.weight * b, slope, bent)
        with jax.numpy_dtype_promotion("standard"):
            updates, optimizer = self.adam.update(slope, optimizer, parts[0])
        rates = self._rates(parts[0], progress, moving_now)
        arrays = jax.tree.map(lambda x, u, r: x - r * u, parts[0], updates, rates)
        group = jnp.asarray(self.group)[batch.index]
        power = residual_power(square, batch.weight, group, self.shell, self.mates, state.noise)
        scalars = {
            "loss": error, "springs": energy, "balance": balance.weight,
            "latent_spread": jnp.sqrt(jnp.mean(z * z)),
        }  # fmt: skip
        return eqx.combine(arrays, parts[1]), optimizer, balance, z, turned, power, scalars

    def _tightness(self, gaussians: GaussianModel) -> Float[Array, ""]:
        """Hold amplitudes and widths weakly where they started."""
        rest = self.start.gaussians
        off = (gaussians.log_amplitude - rest.log_amplitude) ** 2
        off = off + (gaussians.log_width - rest.log_width) ** 2
        images = 0.5 * len(self.half)
        return jnp.sum(off) / (_LOOSENESS**2 * images * self.total)

    def _rates(self, arrays: Moving, progress, moving_now) -> Any:
        """Say how far each array goes in a step."""
        config = self.config
        field = moving_now * warmup_decay(
            progress, config.learning_rate, warmup=0.02, decay="cosine", final=0.01
        )
        share = warmup_decay(progress, config.gaussian_rate, warmup=0.0, decay="cosine", final=0.01)
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

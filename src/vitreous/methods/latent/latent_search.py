"""Latents of images that have no encoder: the decoder is inverted, image by image.

What an autodecoder learned of its own particles are free numbers; for others the same loss is
minimised over the latent alone, weights fixed, by Levenberg–Marquardt from several of the run's
own latents.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from vitreous.geometry.small_matrices import cholesky, solve_lower, solve_lower_transposed
from vitreous.methods.latent.model import LatentMethod
from vitreous.methods.latent.state import LatentModel
from vitreous.particles.loader import PreparedImages
from vitreous.particles.prepare import Batch
from vitreous.reconstruction.foundation import centred_pixels, transfer_of
from vitreous.training.evaluate import map_images
from vitreous.training.schedules import beta_at

_STARTS, _STEPS, _BATCH = 16, 12, 64
# Any image count beyond the ramps of β.
_END = 1e9


class Search(NamedTuple):
    """What one latent's loss needs: images of a batch, their CTFs, poses and weights."""

    observed: Complex[Array, "b p"]
    ctf: Float[Array, "b p"]
    rotation: Float[Array, "b 3 3"]
    weight: Float[Array, "b p"]
    beta: Float[Array, ""]


def search_latents(
    method: LatentMethod, model: LatentModel, data: PreparedImages, known: Float[np.ndarray, "n d"]
) -> Float[np.ndarray, "g d"]:
    """Find the latent of each particle, all its images together.

    **Arguments:** `known`: latents of the run; some of them are where searches start.
    """
    rows = np.random.default_rng(method.config.seed).permutation(len(known))[:_STARTS]
    starts = jnp.asarray(known[rows], jnp.float32)
    beta = beta_at(method.config.beta_value, jnp.full((), _END))

    def find(given, batch: Batch) -> Float[Array, "g d"]:
        model, starts = given
        pose = method.pose(batch, None)
        noise = jnp.asarray(method.pixels.weight * method.inverse_noise)
        seen = Search(
            centred_pixels(batch, method.pixels, pose.shift),
            transfer_of(batch, method.pixels),
            pose.rotation,
            noise[None] * batch.weight[:, None],
            beta,
        )
        return _descend(method, model, seen, _best_start(method, model, seen, starts))

    batch_size = max(_BATCH, method.tilts)
    return map_images(find, (model, starts), data, batch_size, method.shown())


def _residual(
    method: LatentMethod, model: LatentModel, seen: Search, z: Float[Array, "g d"]
) -> Complex[Array, "b p"]:
    frequency = jnp.asarray(method.pixels.frequency)
    sliced = model.decoder.slices(seen.rotation, frequency, jnp.repeat(z, method.tilts, axis=0))
    return seen.observed - seen.ctf.astype(sliced.dtype) * sliced


def _over_tilts(values: Float[Array, "b *f"], tilts: int) -> Float[Array, "g *f"]:
    return values.reshape(-1, tilts, *values.shape[1:]).sum(axis=1)


def _cost(
    method: LatentMethod, seen: Search, residual: Complex[Array, "b p"], z: Float[Array, "g d"]
) -> Float[Array, " g"]:
    """Return the loss of training times the pixels of an image: `Σ w |r|² + ½ β |z|²`."""
    square = jnp.sum(seen.weight * (residual.real**2 + residual.imag**2), axis=1)
    return _over_tilts(square, method.tilts) + 0.5 * seen.beta * jnp.sum(z**2, axis=1)


def _best_start(
    method: LatentMethod, model: LatentModel, seen: Search, starts: Float[Array, "s d"]
) -> Float[Array, "g d"]:
    particles = len(seen.rotation) // method.tilts

    def cost(start: Float[Array, " d"]) -> Float[Array, " g"]:
        z = jnp.broadcast_to(start, (particles, len(start)))
        return _cost(method, seen, _residual(method, model, seen, z), z)

    return starts[jnp.argmin(jax.lax.map(cost, starts), axis=0)]


def _descend(
    method: LatentMethod, model: LatentModel, seen: Search, z: Float[Array, "g d"]
) -> Float[Array, "g d"]:
    """Take Levenberg–Marquardt steps; one that raises a particle's loss is not taken."""
    dimensions = jnp.eye(z.shape[1])

    def step(state, _):
        z, damping = state
        own = lambda z: _residual(method, model, seen, z)  # noqa: E731
        residual = own(z)
        along = jax.lax.map(
            lambda axis: jax.jvp(own, (z,), (jnp.broadcast_to(axis, z.shape),))[1], dimensions
        )
        weighed = along * seen.weight[None].astype(along.dtype)
        gram = jnp.einsum("kbp,lbp->bkl", weighed.conj(), along).real
        pull = -jnp.einsum("kbp,bp->bk", weighed.conj(), residual).real
        gram, pull = (_over_tilts(x, method.tilts) for x in (gram, pull))
        diagonal = jnp.diagonal(gram, axis1=1, axis2=2) * damping[:, None] + 0.5 * seen.beta
        # β of 0 and images that say nothing leave nothing to solve.
        gram = gram + (diagonal + 1e-6)[:, :, None] * dimensions[None]
        pull = pull - 0.5 * seen.beta * z
        factor = cholesky(gram)
        move = solve_lower_transposed(factor, solve_lower(factor, pull[..., None]))[..., 0]
        tried = z + move
        is_better = _cost(method, seen, own(tried), tried) < _cost(method, seen, residual, z)
        damping = jnp.where(is_better, damping / 4, damping * 6)
        return (jnp.where(is_better[:, None], tried, z), damping), None

    start = z, jnp.full(len(z), 1e-2)
    return jax.lax.scan(step, start, None, length=_STEPS)[0][0]

"""The latent of an image, given a model: the mean and spread of its posterior, by Gauss–Newton.

With a prior `N(0, 1)` and white noise, `−log p(z | image)` is a sum of squares; a step solves its
normal equations. Steps know no learning rate, and the last one's matrix is the precision.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float, Int

from vitreous.geometry.small_matrices import cholesky, solve_lower_transposed, solve_positive

# z (b, d) → whitened images (b, p), such that −log p = ½ Σ |observed − predicted|².
Predict = Callable[[Float[Array, "b d"]], Complex[Array, "b p"]]
# The same, and how they change along each latent dimension (d, b, p).
Linearised = Callable[[Float[Array, "b d"]], tuple[Complex[Array, "b p"], Complex[Array, "d b p"]]]
# A step goes no further than this many prior standard deviations.
_LONGEST = 0.7


class Posterior(NamedTuple):
    """Hold latents, their precision matrices, and `½ χ²` with the prior's part."""

    mean: Float[Array, "b d"]
    precision: Float[Array, "b d d"]
    energy: Float[Array, " b"]


def linearised(predict: Predict) -> Linearised:
    """Differentiate predictions forwards."""

    def both(z: Float[Array, "b d"]):
        value, along = jax.linearize(predict, z)
        directions = jnp.eye(z.shape[1], dtype=z.dtype)
        return value, jax.vmap(lambda one: along(jnp.broadcast_to(one, z.shape)))(directions)

    return both


def newton_step(
    predict: Linearised,
    observed: Complex[Array, "b p"],
    z: Float[Array, "b d"],
    prior: float | Float[Array, " d"],
    damping: Float[Array, " b"] | None = None,
) -> tuple[Float[Array, "b d"], Posterior]:
    """Propose the next latents.

    **Arguments:** `prior`: its precision, of each dimension or all. `damping`: ridge, as a share of
    the diagonal.

    **Returns:** the proposal, and the posterior's shape at `z`.
    """
    value, slopes = predict(z)
    directions = jnp.eye(z.shape[1], dtype=z.dtype)
    left = observed - value
    flat = jnp.concatenate([slopes.real, slopes.imag], axis=-1)
    right = jnp.concatenate([left.real, left.imag], axis=-1)
    normal = jnp.einsum("ibp,jbp->bij", flat, flat, precision="highest")
    held_by = jnp.broadcast_to(jnp.asarray(prior, z.dtype), z.shape[1:])[None]
    normal = normal + (directions * held_by)[None]
    gradient = jnp.einsum("ibp,bp->bi", flat, right, precision="highest") - held_by * z
    energy = 0.5 * jnp.sum(right * right, axis=-1) + 0.5 * jnp.sum(held_by * z * z, axis=-1)
    held = normal
    if damping is not None:
        scale = jnp.diagonal(normal, axis1=-2, axis2=-1) * damping[:, None]
        held = normal + scale[..., None] * directions[None]
    step = solve_positive(held, gradient[..., None])[..., 0]
    length = jnp.linalg.norm(step, axis=-1, keepdims=True)
    step = step * jnp.minimum(1.0, _LONGEST / jnp.maximum(length, 1e-9))
    return z + step, Posterior(z, normal, energy)


def energy_at(
    predict: Predict, observed: Complex[Array, "b p"], z: Float[Array, "b d"], prior: float
) -> Float[Array, " b"]:
    """Return `½ χ²` with the prior's part at some latents."""
    left = observed - predict(z)
    square = jnp.sum(left.real**2 + left.imag**2, axis=-1)
    return 0.5 * square + 0.5 * prior * jnp.sum(z * z, axis=-1)


def best_of(
    predict: Predict, observed: Complex[Array, "b p"], places: Float[Array, "k b d"], prior: float
) -> Float[Array, "b d"]:
    """Choose the likeliest of a few latents for each image."""
    energy = jax.lax.map(lambda z: energy_at(predict, observed, z, prior), places)
    best = jnp.argmin(energy, axis=0)
    return jnp.take_along_axis(places, best[None, :, None], axis=0)[0]


def find_latents(
    predict: Linearised,
    observed: Complex[Array, "b p"],
    z: Float[Array, "b d"],
    prior: float | Float[Array, " d"],
    steps: int | Int[Array, ""],
) -> Posterior:
    """Descend from some latents; steps that do not help are undone and damped more."""
    b, d = z.shape
    first = Posterior(z, jnp.broadcast_to(jnp.eye(d), (b, d, d)), jnp.full(b, jnp.inf))

    def body(_, carried):
        at, damping, best = carried
        proposal, here = newton_step(predict, observed, at, prior, damping)
        better = here.energy < best.energy
        best = jax.tree.map(
            lambda new, old: jnp.where(better.reshape(b, *(1,) * (new.ndim - 1)), new, old),
            *(here, best),
        )
        # After a failure: from the best place again, half as far.
        back = best.mean + 0.5 * (at - best.mean)
        at = jnp.where(better[:, None], proposal, back)
        return at, jnp.where(better, damping * 0.3, damping * 4.0), best

    start = (z, jnp.full(b, 0.1), first)
    return jax.lax.fori_loop(0, steps, body, start)[2]


def draw_latents(
    posterior: Posterior, mean: Float[Array, "b d"], noise: Float[Array, "b d"]
) -> Float[Array, "b d"]:
    """Draw from Gaussians of the posterior's precision about some means."""
    factor = cholesky(posterior.precision)
    return mean + solve_lower_transposed(factor, noise[..., None])[..., 0]

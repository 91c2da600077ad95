"""CryoFIRE's loss: the better of several guesses counts, within a band that grows."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float, Int


def band_error(
    observed: Complex[Array, "b p"],
    predicted: Complex[Array, "b p"],
    weight: Float[Array, " p"],
) -> Float[Array, " b"]:
    """Return the mean squared error of each image over the weighted pixels."""
    difference = observed - predicted
    square = difference.real**2 + difference.imag**2
    return jnp.sum(square * weight[None], axis=-1) / jnp.maximum(jnp.sum(weight), 1e-12)


def best_guess(error: Float[Array, "b g"]) -> tuple[Float[Array, " b"], Int[Array, " b"]]:
    """Return the smallest error of each image and which guess it was.

    Only that guess is taught: an encoder that is right for an image or its mirror image is right,
    and with several heads one right head is enough.

    **Source:** Levy et al. (2022) arXiv 2203.08138 and 2210.07387 (symmetric loss); heads
    as in cryoSPIN (2024).
    """
    winner = jnp.argmin(error, axis=1)
    return jnp.take_along_axis(error, winner[:, None], axis=1)[:, 0], winner


def latent_deviation(log_variance: Float[Array, "... d"]) -> Float[Array, "... d"]:
    """Return `σ = exp(½ log σ²)`, the same σ that the KL divergence is measured with.

    CryoFIRE samples with a softplus of the log-variance and measures with its exponential.
    """
    return jnp.exp(0.5 * log_variance)


def open_shells(
    images_seen: Int[Array, ""] | Float[Array, ""], every: int, first: int, last: int
) -> Float[Array, ""]:
    """Return the radius of the mask: one shell more after so many presentations."""
    step = jnp.floor(jnp.asarray(images_seen, jnp.float32) / max(every, 1))
    return jnp.minimum(first + step, last)


def masked_weight(
    shell: Int[Array, " p"], weight: Float[Array, " p"], radius: Float[Array, ""]
) -> Float[Array, " p"]:
    """Return the weights of pixels within a radius, 0 beyond."""
    return jax.lax.stop_gradient(jnp.where(shell.astype(radius.dtype) <= radius, weight, 0.0))

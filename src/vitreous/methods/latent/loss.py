"""The evidence bound: whitened squared error in Fourier space and KL divergence."""

import jax.numpy as jnp
from jaxtyping import Array, Complex, Float


def squared_error(
    observed: Complex[Array, "b p"],
    predicted: Complex[Array, "b p"],
    weight: Float[Array, " p"],
    total: float,
) -> Float[Array, " b"]:
    """Return the weighted mean squared error of each image.

    **Arguments:** `weight`: half-plane weight × sampling weight / noise power. `total`: number of
    pixels of the full plane, Σ m_k, so that pure noise scores 1.
    """
    difference = observed - predicted
    square = difference.real**2 + difference.imag**2
    return jnp.sum(square * weight[None], axis=-1) / total


def bound(
    error: Float[Array, " b"],
    divergence: Float[Array, " g"],
    image_weight: Float[Array, " b"],
    images: Float[Array, ""],
    particles: Float[Array, ""],
    total: float,
    beta: Float[Array, ""],
    control: float | None,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Combine error and KL: `error + β KL / total`, or `error + γ (β − KL)² / total`.

    The error is the mean over images, the KL that over particles. A particle pays its KL once,
    however many tilts show it: in the bound it weighs as much as one image's share of the error.

    **Arguments:** `divergence`: of each particle; its images stand side by side. `image_weight`:
    0 for padding. `images`, `particles`: how many real ones to average over; more than are given
    when a batch is worked on in pieces, whose bounds then add up. `control`: γ of a controlled
    VAE, where β is the KL to hold.
    """
    reconstruction = jnp.sum(error * image_weight) / images
    is_real = jnp.max(image_weight.reshape(divergence.shape[0], -1), axis=1)
    kl = jnp.sum(divergence * is_real) / particles
    if control is None:
        loss = reconstruction + beta * kl * (particles / images) / total
    else:
        loss = reconstruction + control * (beta - kl) ** 2 / total
    return loss, {"loss": loss, "reconstruction": reconstruction, "kl": kl}

"""How probable an image is: Gaussian log-likelihoods in both spaces, with scale and offset.

Totals over the image, in nats, constants included: for white noise both spaces agree exactly. The
model of an image is `scale · m + offset + noise`. Half planes are those of `geometry.fourier`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from vitreous.geometry.fourier import half_plane_weights

_LN_2PI = float(np.log(2 * np.pi))

GaussianPrior = tuple[float, float]


def real_log_likelihood(
    residual: Float[Array, "... n n"], variance: Float[Array, ""]
) -> Float[Array, "..."]:
    """Return `−Σₓ [r²/2σ² + ½ ln 2πσ²]` of observed minus model, for white noise."""
    square = jnp.sum(residual * residual, axis=(-2, -1))
    pixels = residual.shape[-1] * residual.shape[-2]
    return -0.5 * (square / variance + pixels * (jnp.log(variance) + _LN_2PI))


def fourier_log_likelihood(
    residual: Complex[Array, "... n h"], power: Float[Array, "... n h"]
) -> Float[Array, "..."]:
    """Return `−½ Σₖ mₖ [|R|²/(N P) + ln 2πP]` of observed minus model, for coloured noise.

    **Arguments:** `residual`: half planes. `power`: `P(k)`, variance of a mode per pixel, of the
    same leading axes or none. The zero frequency takes part.

    With `P = σ²` this is `real_log_likelihood`, by Parseval and `Σ mₖ = N`. Noise under a mask has
    correlated modes, which a power spectrum does not describe.
    """
    box = residual.shape[-2]
    weight = jnp.asarray(half_plane_weights(box), power.dtype)
    weight = weight.reshape(*(1,) * (residual.ndim - 1), -1)
    power = power.reshape(*(1,) * (residual.ndim - power.ndim), *power.shape)
    square = residual.real**2 + residual.imag**2
    terms = square / (box * box * power) + jnp.log(power) + _LN_2PI
    return -0.5 * jnp.sum(weight * terms, axis=(-2, -1))


class Products(NamedTuple):
    """Hold inner products `⟨a, b⟩ = Σₖ mₖ Re(a* b) / (N P)` of observed d, model m and ones.

    **Fields:** `model`: ⟨m,m⟩. `cross`: ⟨d,m⟩. `model_mean`: ⟨m,1⟩. `observed_mean`: ⟨d,1⟩.
    `ones`: ⟨1,1⟩. `null`: log-likelihood of the image with neither scale nor offset.
    """

    model: Float[Array, "..."]
    cross: Float[Array, "..."]
    model_mean: Float[Array, "..."]
    observed_mean: Float[Array, "..."]
    ones: Float[Array, "..."]
    null: Float[Array, "..."]


class ScaleOffset(NamedTuple):
    """Hold the likeliest scale and offset of images, and their log-likelihood there."""

    scale: Float[Array, "..."]
    offset: Float[Array, "..."]
    log_likelihood: Float[Array, "..."]


def products(
    observed: Complex[Array, "... n h"],
    model: Complex[Array, "... n h"],
    power: Float[Array, "n h"],
) -> Products:
    """Form the inner products that profile and marginal likelihood are made of.

    **Arguments:** half planes of one shape; `power`: `P(k)`.
    """
    box = observed.shape[-2]
    weight = jnp.asarray(half_plane_weights(box), power.dtype)[None] / (box * box * power)
    weight = weight.reshape(*(1,) * (observed.ndim - 2), *weight.shape)
    axes = (-2, -1)
    inverse = 1 / power[0, 0]
    mm = jnp.sum(weight * (model.real**2 + model.imag**2), axis=axes)
    dm = jnp.sum(weight * (model.real * observed.real + model.imag * observed.imag), axis=axes)
    return Products(
        mm,
        dm,
        model[..., 0, 0].real * inverse,
        observed[..., 0, 0].real * inverse,
        jnp.broadcast_to(box * box * inverse, mm.shape),
        fourier_log_likelihood(observed, power),
    )


def profile_likelihood(p: Products) -> ScaleOffset:
    """Find the scale and the offset that fit best, `s = ⟨d − d̄, m − m̄⟩ / |m − m̄|²`.

    **Returns:** scale 0 where the model is constant.
    """
    spread = p.model - p.model_mean**2 / p.ones
    covariance = p.cross - p.model_mean * p.observed_mean / p.ones
    flat = spread <= 0
    scale = jnp.where(flat, 0, covariance / jnp.where(flat, 1, spread))
    offset = (p.observed_mean - scale * p.model_mean) / p.ones
    gain = 0.5 * (scale * covariance + p.observed_mean**2 / p.ones)
    return ScaleOffset(scale, offset, p.null + gain)


def marginal_likelihood(
    p: Products,
    scale_prior: GaussianPrior | None = None,
    offset_prior: GaussianPrior | None = None,
    positive_scale: bool = False,
) -> Float[Array, "..."]:
    """Integrate the likelihood over scale and offset, in closed form.

    **Arguments:** `scale_prior`, `offset_prior`: mean and standard deviation of Gaussian priors;
    without one, the integral is over the whole line with density 1. `positive_scale`: integrate
    scales above 0 only (the prior is not normalised anew).

    **Source:** as in BioEM, Cossio & Hummer (2013) J. Struct. Biol. 184, 427, there with flat
    priors.
    """
    a, b, c = p.model, p.ones, p.model_mean
    right_scale, right_offset = p.cross, p.observed_mean
    constant = p.null + _LN_2PI
    if scale_prior is not None:
        mean, deviation = scale_prior
        a, right_scale = a + deviation**-2, right_scale + mean * deviation**-2
        constant = constant - 0.5 * (mean / deviation) ** 2 - np.log(deviation) - 0.5 * _LN_2PI
    if offset_prior is not None:
        mean, deviation = offset_prior
        b, right_offset = b + deviation**-2, right_offset + mean * deviation**-2
        constant = constant - 0.5 * (mean / deviation) ** 2 - np.log(deviation) - 0.5 * _LN_2PI
    # Offset first, then the scale with what is left of its precision.
    precision = a - c * c / b
    rest = right_scale - c * right_offset / b
    exponent = 0.5 * (right_offset**2 / b + rest**2 / precision)
    value = constant + exponent - 0.5 * (jnp.log(b) + jnp.log(precision))
    if positive_scale:
        value = value + jax.scipy.stats.norm.logcdf(rest / jnp.sqrt(precision))
    return value

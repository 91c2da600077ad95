"""Gaussian posteriors of latents: bounded log-variances, and what they cost."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Log-variance of a posterior that tells nothing, and more.
_WIDEST = 4.0


def bounded_log_variance(raw: Float[Array, "b d"]) -> Float[Array, "b d"]:
    """Keep log-variances below 4, smoothly; what lies well below is left as it is.

    The prior has variance 1. One odd image whose variance a network puts at exp(20) would
    otherwise outweigh all others of its batch.
    """
    return raw - jax.nn.softplus(raw - _WIDEST)


def kl_divergence(
    mean: Float[Array, "b d"], log_variance: Float[Array, "b d"]
) -> Float[Array, " b"]:
    """Measure KL(N(μ, σ²) ‖ N(0, 1)) = ½ Σ (μ² + σ² − 1 − log σ²), never negative."""
    return 0.5 * jnp.sum(mean**2 + jnp.exp(log_variance) - 1 - log_variance, axis=-1)

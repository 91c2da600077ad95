"""The exact posterior of each image's coordinates, from inner products with the components.

Given mean and components, an image tells about `z` only through the Gram matrix of its imaged
components and their inner products with its pixels, all in units of the noise.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vitreous.geometry.small_matrices import cholesky, solve_lower, solve_lower_transposed


class Products(NamedTuple):
    """Hold what an image has to do with each field: mean first, then components.

    **Fields:** `gram`: `Re Σ w (C P_k)* (C P_l)`. `projection`: `Re Σ w (C P_k)* y`. `square`:
    `Σ w |y|²`; `w` is pixel multiplicity over noise power.
    """

    gram: Float[Array, "b k k"]
    projection: Float[Array, "b k"]
    square: Float[Array, " b"]


class Posterior(NamedTuple):
    """Hold what is known of an image once it is seen.

    **Fields:** `mean`, `covariance` of z. `contrast`: posterior mean of s. `first`, `second`:
    moments of `x = s (1, z)`, which the M-step needs. `evidence`: log marginal likelihood with
    the first 0, 1, … K components, up to a constant of the image and of the noise.
    """

    mean: Float[Array, "b d"]
    covariance: Float[Array, "b d d"]
    contrast: Float[Array, " b"]
    first: Float[Array, "b k"]
    second: Float[Array, "b k k"]
    evidence: Float[Array, "b k"]


class ContrastPrior(NamedTuple):
    """Say how the contrast of images may vary: a few values and their prior weights.

    One value of 1 means that all images have the same contrast. Being a finite sum, the integral
    over s is exact, and EM still climbs.
    """

    values: tuple[float, ...] = (1.0,)
    log_weights: tuple[float, ...] = (0.0,)

    @classmethod
    def normal(cls, spread: float = 0.2, count: int = 9) -> "ContrastPrior":
        """Spread `count` values over ±2.5 standard deviations about 1."""
        steps = np.linspace(-2.5, 2.5, count)
        log = -0.5 * steps**2
        log -= np.log(np.exp(log).sum())
        values = np.maximum(1 + spread * steps, 0.05)
        return cls(tuple(values.tolist()), tuple(log.tolist()))


def posterior(products: Products, contrast: ContrastPrior) -> Posterior:
    """Integrate over contrast and coordinates.

    **Source:** for fixed s, `M = 1 + s² G_zz`, `E z = M⁻¹ (s b_z − s² G_zμ)`, and the log evidence
    is `−½ |y − s C P μ|² + ½ |L⁻¹ (…)|² − log det L` with `M = L Lᵀ`, whose leading parts are those
    of fewer components.
    """
    gram, projection, square = products
    dtype = gram.dtype
    s = jnp.asarray(contrast.values, dtype)[:, None]
    log_prior = jnp.asarray(contrast.log_weights, dtype)[:, None]
    count = gram.shape[-1] - 1
    inner = gram[None, :, 1:, 1:] * (s * s)[..., None, None]
    factor = cholesky(inner + jnp.eye(count, dtype=dtype)[None, None])
    right = s[..., None] * projection[None, :, 1:] - (s * s)[..., None] * gram[None, :, 1:, 0]
    forward = solve_lower(factor, right[..., None])
    z = solve_lower_transposed(factor, forward)[..., 0]
    eye = jnp.broadcast_to(jnp.eye(count, dtype=dtype), factor.shape)
    spread = solve_lower_transposed(factor, solve_lower(factor, eye))

    base = -0.5 * (square[None] - 2 * s * projection[None, :, 0] + s * s * gram[None, :, 0, 0])
    gains = 0.5 * forward[..., 0] ** 2
    gains = gains - jnp.log(jnp.diagonal(factor, axis1=-2, axis2=-1))
    evidence = jnp.concatenate(
        [base[..., None], base[..., None] + jnp.cumsum(gains, axis=-1)], axis=-1
    )
    joint = evidence + log_prior[..., None]
    total = jax.nn.logsumexp(joint, axis=0)
    chance = jnp.exp(joint[..., -1] - total[None, :, -1])

    ones = jnp.ones((*z.shape[:-1], 1), dtype)
    x = jnp.concatenate([ones, z], axis=-1)
    wide = jnp.pad(spread, [(0, 0), (0, 0), (1, 0), (1, 0)])
    moments = wide + x[..., :, None] * x[..., None, :]
    mean = jnp.sum(chance[..., None] * z, axis=0)
    square_z = jnp.sum(chance[..., None, None] * moments[..., 1:, 1:], axis=0)
    return Posterior(
        mean,
        square_z - mean[:, :, None] * mean[:, None, :],
        jnp.sum(chance * s, axis=0),
        jnp.sum((chance * s)[..., None] * x, axis=0),
        jnp.sum((chance * s * s)[..., None, None] * moments, axis=0),
        total,
    )

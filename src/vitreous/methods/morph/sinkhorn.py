"""Entropic optimal transport between two densities on one grid, separable and in the log domain.

Cost `|x − y|²` in Å², `ε` in Å²; both densities have unit mass. The divergence takes off what
each density would pay for itself: without that its minimum is the target grown by the blur
`√(ε/2)`. Every potential is updated in the same, averaged way, so that the divergence of a density
with itself has no gradient after any number of iterations, however few.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# Mass of an empty voxel: below any real one, yet finite in the log.
EMPTY = 1e-20
# Up to this reach the sum over a window is unrolled into one vectorised pass over the grid.
_UNROLLED = 12


def log_blur(
    log_density: Float[Array, "z y x"],
    sharpness: Float[Array, ""] | float,
    reach: int | None = None,
) -> Float[Array, "z y x"]:
    """Compute `log Σ_j exp(φ_j − s·|i − j|²)`, one axis after the other, with exact maxima.

    **Arguments:** `sharpness`: `s = voxel² / ε`. `reach`: along each axis only voxels up to this
    distance count; None counts all, and so does a reach that spans the grid.
    """
    for axis in range(3):
        n = log_density.shape[axis]
        if reach is None or reach >= n - 1:
            log_density = _dense_axis(log_density, sharpness, axis, None)
        elif reach > _UNROLLED:
            log_density = _dense_axis(log_density, sharpness, axis, reach)
        else:
            log_density = _windowed_axis(log_density, sharpness, axis, reach)
    return log_density


def _dense_axis(phi, sharpness, axis: int, reach: int | None):
    """Reduce over a whole line; the compiler fuses it without forming n⁴ numbers."""
    lines = jnp.moveaxis(phi, axis, -1)
    n = lines.shape[-1]
    gap = np.subtract.outer(np.arange(n), np.arange(n)).astype(np.float32) ** 2
    cost = -sharpness * jnp.asarray(gap, phi.dtype)
    if reach is not None:
        cost = jnp.where(jnp.asarray(gap > reach**2), -jnp.inf, cost)
    terms = lines[..., None, :] + cost[None, None]
    top = jnp.max(terms, axis=-1)
    total = jnp.sum(jnp.exp(terms - top[..., None]), axis=-1)
    return jnp.moveaxis(top + jnp.log(total), -1, axis)


def _windowed_axis(phi, sharpness, axis: int, reach: int):
    """Add up shifted copies: cost n³ · reach."""
    n = phi.shape[axis]
    pad = [(reach, reach) if a == axis else (0, 0) for a in range(3)]
    wide = jnp.pad(phi, pad, constant_values=-jnp.inf)
    terms = [
        jax.lax.slice_in_dim(wide, reach + d, reach + d + n, axis=axis) - sharpness * float(d * d)
        for d in range(-reach, reach + 1)
    ]
    top = terms[0]
    for term in terms[1:]:
        top = jnp.maximum(top, term)
    total = sum(jnp.exp(term - top) for term in terms)
    return top + jnp.log(total)


class Potentials(NamedTuple):
    """Hold dual potentials in Å²: `f`, `g` of the pair, and those of each density with itself."""

    f: Float[Array, "z y x"]
    g: Float[Array, "z y x"]
    source_self: Float[Array, "z y x"]
    target_self: Float[Array, "z y x"]


def sinkhorn(
    source: Float[Array, "z y x"],
    target: Float[Array, "z y x"],
    voxel: float,
    epsilon: Float[Array, ""] | float,
    iterations: int,
    reach: int | None = None,
) -> Potentials:
    """Find the potentials of two densities by some iterations from nothing.

    Few iterations see mass within a few blurs only and move it there: from coarse grids to fine
    ones that is all a training step needs. The last update is not averaged, so that every
    potential is the soft minimum of its partner, defined on empty voxels too.

    **Arguments:** `source`, `target`: unit mass. `voxel` in Å, `epsilon` in Å².

    **Source:** Feydy et al. (2019) "Interpolating between optimal transport and MMD using
    Sinkhorn divergences", algorithm 1 and its symmetric updates.
    """
    log_a, log_b = (jnp.log(jnp.maximum(d, EMPTY)) for d in (source, target))

    def soft_minimum(potential, log_density):
        return -epsilon * log_blur(potential / epsilon + log_density, voxel**2 / epsilon, reach)

    def propose(p: Potentials) -> Potentials:
        return Potentials(
            soft_minimum(p.g, log_b),
            soft_minimum(p.f, log_a),
            soft_minimum(p.source_self, log_a),
            soft_minimum(p.target_self, log_b),
        )

    def improve(_, p: Potentials) -> Potentials:
        return jax.tree.map(lambda old, new: 0.5 * (old + new), p, propose(p))

    zero = jnp.zeros_like(source)
    start = Potentials(zero, zero, zero, zero)
    return propose(jax.lax.fori_loop(0, iterations, improve, start))


def transport_cost(
    potentials: Potentials,
    source: Float[Array, "z y x"],
    target: Float[Array, "z y x"],
    is_debiased: bool = True,
) -> Float[Array, ""]:
    """Give the dual value in Å²: the divergence, or the entropic cost where not debiased.

    At converged potentials the latter is `min ⟨P, C⟩ + ε KL(P | a bᵀ)`.
    """
    f, g = potentials.f, potentials.g
    if is_debiased:
        f, g = f - potentials.source_self, g - potentials.target_self
    return jnp.sum(f * source) + jnp.sum(g * target)


def peer_transport(
    source: Float[Array, "z y x"],
    target: Float[Array, "z y x"],
    sharpness: Float[Array, ""] | float,
    epsilon: Float[Array, ""] | float,
    iterations: int,
) -> tuple[Float[Array, "z y x"], Float[Array, ""]]:
    """Give the gradient and value of the peer's loss: cold start, no debiasing.

    **Arguments:** `source`, `target`: equal mass, not unit mass. `epsilon` in squares of the box
    side and `sharpness = 1 / (ε n²)`.

    **Returns:** `ε φ₀`, the derivative of the loss by the source; the loss.
    """
    log_a, log_b = (jnp.log(jnp.maximum(d, EMPTY)) for d in (source, target))

    def improve(_, pair):
        first = log_a - log_blur(pair[1], sharpness)
        return first, log_b - log_blur(first, sharpness)

    zero = jnp.zeros_like(source)
    first, second = jax.lax.fori_loop(0, iterations, improve, (zero, zero))
    whole = jnp.sum(jnp.exp(first + log_blur(second, sharpness)))
    return epsilon * first, epsilon * (jnp.sum(first * source) + jnp.sum(second * target) - whole)

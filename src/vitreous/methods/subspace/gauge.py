"""The freedom of a subspace: which basis describes it, and how two half sets share one.

The likelihood depends on `U Uᵀ` only, so a basis may be chosen: after every M-step the prior of
z is made a unit Gaussian again (parameter-expanded EM, which climbs faster), the components are
made orthogonal with the strongest first, and the second half is turned onto the first.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float


def gram_of(volumes: Float[Array, "2 k m m m"]) -> Float[Array, "2 2 k k"]:
    """Return the inner products of all volumes of both halves."""
    flat = volumes.reshape(2, volumes.shape[1], -1)
    return jnp.einsum("akx,blx->abkl", flat, flat, precision="highest")


def mix(
    volumes: Complex[Array, "2 k *box"] | Float[Array, "2 k *box"],
    basis: Float[Array, "2 k k"],
) -> Complex[Array, "2 k *box"] | Float[Array, "2 k *box"]:
    """Combine mean and components: new volume `k` is `Σ_l basis[l, k] volume_l`."""
    return jnp.einsum("hl...,hlk->hk...", volumes, basis.astype(volumes.dtype), precision="highest")


def whitening(
    first: Float[np.ndarray, " d"], second: Float[np.ndarray, "d d"]
) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, "d d"]]:
    """Return mean and Cholesky factor of the coordinates' covariance over all images.

    **Arguments:** mean over the images of `E z` and `E zzᵀ`.
    """
    covariance = second - np.outer(first, first)
    values, vectors = np.linalg.eigh(0.5 * (covariance + covariance.T))
    root = vectors * np.sqrt(np.maximum(values, 1e-6))
    return first, root


def new_basis(
    gram: Float[np.ndarray, "2 2 k k"],
    first: Float[np.ndarray, "2 d"],
    second: Float[np.ndarray, "2 d d"],
    images: Float[np.ndarray, " 2"],
) -> Float[np.ndarray, "2 k k"]:
    """Choose the basis for the next step, from the inner products and moments of this one.

    **Returns:** for `mix`. The second half is turned onto the first, by Procrustes; a half
    without images is left alone.
    """
    k = gram.shape[-1]
    gram, basis = gram.astype(np.float64), np.stack([np.eye(k)] * 2)
    for half in range(2):
        if images[half] == 0:
            continue
        count = float(images[half])
        shift, root = whitening(first[half] / count, second[half] / count)
        inner = root.T @ gram[half, half, 1:, 1:] @ root
        values, vectors = np.linalg.eigh(0.5 * (inner + inner.T))
        turn = root @ vectors[:, np.argsort(values)[::-1]]
        basis[half, 1:, 0] = shift
        basis[half, 1:, 1:] = turn
    if images[0] and images[1]:
        cross = basis[1, 1:, 1:].T @ gram[1, 0, 1:, 1:] @ basis[0, 1:, 1:]
        left, _, right = np.linalg.svd(cross)
        basis[1, 1:, 1:] = basis[1, 1:, 1:] @ (left @ right)
    return basis.astype(np.float32)


def half_set_correlation(
    gram: Float[np.ndarray, "2 2 k k"],
) -> Float[np.ndarray, " d"]:
    """Correlate each component with its counterpart in the other half, once they are aligned."""
    cross = np.diagonal(gram[0, 1, 1:, 1:])
    own = np.diagonal(gram[0, 0, 1:, 1:]) * np.diagonal(gram[1, 1, 1:, 1:])
    return cross / np.sqrt(np.maximum(own, 1e-30))

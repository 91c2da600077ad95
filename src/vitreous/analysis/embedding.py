"""UMAP: a map of the latent space in two dimensions."""

import warnings

import numpy as np
from jaxtyping import Float
from sklearn.neighbors import NearestNeighbors


def embed_umap(
    z: Float[np.ndarray, "n d"], seed: int = 0, largest: int = 100_000
) -> Float[np.ndarray, "n 2"]:
    """Embed points in the plane, with umap-learn's defaults and a fixed seed.

    **Arguments:** `largest`: above this many points a random subset of this size is laid out and
    the others are placed among their neighbours, which keeps time and memory in bounds.
    """
    # Importing costs seconds (numba): only those who embed pay.
    with warnings.catch_warnings():
        # umap says so when tensorflow, which nothing here uses, is missing.
        warnings.simplefilter("ignore", ImportWarning)
        import umap

    neighbours = min(15, len(z) - 1)
    if neighbours < 2:
        return np.zeros((len(z), 2), np.float32)
    # The spectral start needs more points than the plane has dimensions.
    start = "spectral" if len(z) > 16 else "random"
    reducer = umap.UMAP(n_neighbors=neighbours, init=start, random_state=seed, n_jobs=1)
    z = np.ascontiguousarray(z, np.float32)
    if len(z) <= largest:
        return np.asarray(reducer.fit_transform(z), np.float32)
    rng = np.random.default_rng(seed)
    chosen = np.zeros(len(z), dtype=bool)
    chosen[rng.permutation(len(z))[:largest]] = True
    embedded = np.zeros((len(z), 2), np.float32)
    embedded[chosen] = reducer.fit_transform(z[chosen])
    embedded[~chosen] = place_among(z[~chosen], z[chosen], embedded[chosen])
    return embedded


def place_among(
    z: Float[np.ndarray, "m d"],
    laid_out: Float[np.ndarray, "n d"],
    embedded: Float[np.ndarray, "n 2"],
    k: int = 5,
) -> Float[np.ndarray, "m 2"]:
    """Place points on a map at the mean of their `k` nearest mapped points, nearer ones more."""
    k = min(k, len(laid_out))
    distance, near = NearestNeighbors(n_neighbors=k).fit(laid_out).kneighbors(z)
    weight = 1 / np.maximum(distance, 1e-6 + 1e-3 * distance[:, -1:])
    weight /= weight.sum(axis=1, keepdims=True)
    return np.einsum("mk,mkc->mc", weight, embedded[near]).astype(np.float32)

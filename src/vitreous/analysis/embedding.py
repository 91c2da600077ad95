"""A map of the latent space in two dimensions: UMAP, or a plainer one."""

import warnings
from typing import Literal

import numpy as np
from jaxtyping import Float
from sklearn.neighbors import NearestNeighbors

from vitreous.analysis.principal import fit_components

Embedding = Literal["PCA", "UMAP", "TSNE", "ICA"]


def embed(
    features: Float[np.ndarray, "n d"], kind: Embedding = "PCA", seed: int = 0
) -> Float[np.ndarray, "n 2"]:
    """Embed points in the plane, by name.

    One dimension stays as it is, with 0 beside it, whatever the kind.
    """
    features = np.asarray(features, np.float64)
    if min(features.shape) < 2:
        first = features[:, :1]
        return np.concatenate([first, np.zeros_like(first)], axis=1).astype(np.float32)
    if kind == "UMAP":
        return embed_umap(features, seed)
    if kind == "TSNE":
        from sklearn.manifold import TSNE

        spread = min(30.0, max((len(features) - 1) / 3, 1.0))
        made = TSNE(2, perplexity=spread, init="pca", random_state=seed)
        return np.asarray(made.fit_transform(features), np.float32)
    if kind == "ICA":
        from sklearn.decomposition import FastICA

        made = FastICA(2, whiten="unit-variance", random_state=seed, max_iter=1000)
        with warnings.catch_warnings():
            # Gaussian latents have no independent axes to converge to: any pair will do.
            warnings.simplefilter("ignore")
            return np.asarray(made.fit_transform(features), np.float32)
    return fit_components(features).transform(features)[:, :2]


def embed_umap(
    z: Float[np.ndarray, "n d"], seed: int = 0, largest: int = 100_000, neighbours: int = 15
) -> Float[np.ndarray, "n 2"]:
    """Embed points in the plane, with umap-learn's defaults and a fixed seed.

    **Arguments:** `largest`: above this many points a random subset of this size is laid out and
    the others are placed among their neighbours, which keeps time and memory in bounds.
    `neighbours`: more of them show the large scale better, fewer the small.
    """
    n = len(z)
    k = min(neighbours, n - 1)
    if k < 2:
        return np.zeros((n, 2), np.float32)
    z = np.ascontiguousarray(z, np.float32)
    if n <= largest:
        return _lay_out(z, k, seed)
    chosen = np.zeros(n, dtype=bool)
    chosen[np.random.default_rng(seed).permutation(n)[:largest]] = True
    embedded = np.zeros((n, 2), np.float32)
    embedded[chosen] = _lay_out(z[chosen], k, seed)
    embedded[~chosen] = place_among(z[~chosen], z[chosen], embedded[chosen])
    return embedded


def _lay_out(z: np.ndarray, k: int, seed: int) -> np.ndarray:
    # Importing costs seconds (numba): only those who embed pay.
    with warnings.catch_warnings():
        # umap says so when tensorflow, which nothing here uses, is missing.
        warnings.simplefilter("ignore", ImportWarning)
        import umap

    # Exact neighbours: umap's own search calls Python for every pair of a small set, and compiles
    # an approximate index for a large one.
    distance, near = NearestNeighbors(n_neighbors=k).fit(z).kneighbors(z)
    # The spectral start needs more points than the plane has dimensions.
    start = "spectral" if len(z) > 16 else "random"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*knn_search_index", category=UserWarning)
        warnings.filterwarnings("ignore", message=".*transform", category=UserWarning)
        reducer = umap.UMAP(
            n_neighbors=k,
            init=start,
            random_state=seed,
            n_jobs=1,
            precomputed_knn=(near, distance.astype(np.float32), None),
            force_approximation_algorithm=True,
        )
        return np.asarray(reducer.fit_transform(z), np.float32)


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

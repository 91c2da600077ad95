"""The density of states behind noisy latents, its free energy, and paths along it.

Every latent is the truth blurred by its own posterior. What the images as a whole say is the
distribution that makes them most likely: weights on a set of states, found by EM on the exact
likelihood of each image as a function of z (no histogram of posterior means, which is too narrow
where the prior pulls and too wide where images are noisy).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra
from scipy.special import logsumexp
from sklearn.neighbors import NearestNeighbors

from vitreous.errors import InputError

# States the distribution is spread over, and steps of EM.
_STATES, _STEPS = 1000, 200
# Images whose likelihoods are held at a time.
_CHUNK = 4096


class Landscape(NamedTuple):
    """Hold a distribution over states.

    **Fields:** `states`: where in latent space. `weight`: of each, adding up to 1. `density`: per
    volume of latent space at each state, up to a factor. `energy`: `−log density`, 0 at the
    deepest. `width`: over which density was averaged.
    """

    states: Float[np.ndarray, "m d"]
    weight: Float[np.ndarray, " m"]
    density: Float[np.ndarray, " m"]
    energy: Float[np.ndarray, " m"]
    width: float


def log_likelihood(
    mean: Float[np.ndarray, "n d"],
    covariance: Float[np.ndarray, "n d d"],
    states: Float[np.ndarray, "m d"],
) -> Float[np.ndarray, "n m"]:
    """Return what each image says about each state, up to a constant of the image.

    The posterior under a unit Gaussian prior is divided by that prior:
    `log p(y | z) = −½ (z − m)ᵀ C⁻¹ (z − m) + ½ |z|²`.
    """
    precision = np.linalg.inv(covariance.astype(np.float64))
    linear = np.einsum("nij,nj->ni", precision, mean.astype(np.float64))
    likelihood = precision - np.eye(mean.shape[1])[None]
    flat = np.einsum("mi,mj->mij", states, states).reshape(len(states), -1)
    quadratic = likelihood.reshape(len(mean), -1) @ flat.T
    return linear @ states.T - 0.5 * quadratic


def deconvolve(
    mean: Float[np.ndarray, "n d"],
    covariance: Float[np.ndarray, "n d d"],
    states: int = _STATES,
    steps: int = _STEPS,
    seed: int = 0,
) -> Landscape:
    """Find the distribution of states that makes the images most likely.

    **Arguments:** posterior mean and covariance of each image under a unit Gaussian prior, as a
    subspace run gives them. `states`: how many places it may put weight on, drawn from the
    images' own latents.

    **Source:** Kiefer & Wolfowitz (1956) nonparametric maximum likelihood, by EM.
    """
    if len(mean) < 2:
        raise InputError("a landscape needs the latents of at least two images")
    generator = np.random.default_rng(seed)
    chosen = generator.permutation(len(mean))[:states]
    places = mean[np.sort(chosen)].astype(np.float64)
    log_weight = np.full(len(places), -np.log(len(places)))
    likelihood = np.concatenate(
        [
            log_likelihood(mean[i : i + _CHUNK], covariance[i : i + _CHUNK], places)
            for i in range(0, len(mean), _CHUNK)
        ]
    )
    likelihood -= likelihood.max(axis=1, keepdims=True)
    chance = np.exp(likelihood)
    weight = np.exp(log_weight)
    for _ in range(steps):
        explained = chance @ weight
        weight = weight * (chance.T @ (1 / np.maximum(explained, 1e-300))) / len(mean)
    weight /= weight.sum()
    width = _resolution(covariance)
    density = smooth_density(places, weight, places, width)
    energy = -np.log(np.maximum(density, 1e-300))
    return Landscape(places, weight, density, energy - energy.min(), width)


def smooth_density(
    states: Float[np.ndarray, "m d"],
    weight: Float[np.ndarray, " m"],
    at: Float[np.ndarray, "k d"],
    width: float,
) -> Float[np.ndarray, " k"]:
    """Spread weights by a Gaussian and read the density at points."""
    square = ((at[:, None] - states[None]) ** 2).sum(-1)
    dimension = states.shape[1]
    log = -0.5 * square / width**2 + np.log(np.maximum(weight, 1e-300))[None]
    log -= dimension * np.log(width * np.sqrt(2 * np.pi))
    return np.exp(logsumexp(log, axis=1))


def _resolution(covariance: Float[np.ndarray, "n d d"]) -> float:
    """Return the width below which images do not tell states apart: a posterior deviation."""
    variance = np.diagonal(covariance, axis1=1, axis2=2)
    return float(np.sqrt(np.median(variance)))


def density_path(
    landscape: Landscape,
    start: Float[np.ndarray, " d"],
    end: Float[np.ndarray, " d"],
    neighbours: int = 12,
) -> Int[np.ndarray, " steps"]:
    """Walk from one state to another where images are many.

    The path makes `∫ energy-weighted length` least: a stretch costs its length in units of the
    landscape's width, times `exp` of the mean energy along it (Maupertuis-like, kT = 1).

    **Returns:** indices into `landscape.states`.

    **Raises:** `InputError` if no chain of neighbours connects the ends.
    """
    states, count = landscape.states, min(neighbours, len(landscape.states) - 1)
    distance, near = NearestNeighbors(n_neighbors=count + 1).fit(states).kneighbors(states)
    rows = np.repeat(np.arange(len(states)), count)
    columns, length = near[:, 1:].ravel(), distance[:, 1:].ravel()
    energy = 0.5 * (landscape.energy[rows] + landscape.energy[columns])
    cost = length / landscape.width * np.exp(np.minimum(energy, 50.0)) + 1e-9
    graph = csr_matrix((cost, (rows, columns)), shape=(len(states),) * 2)
    first, last = (int(np.argmin(((states - p) ** 2).sum(1))) for p in (start, end))
    # Its stubs know no plain integer for `indices`.
    total, before = dijkstra(graph, False, first, True)  # type: ignore[call-overload]
    if not np.isfinite(total[last]):
        raise InputError("no chain of states connects the two ends; raise the number of neighbours")
    path = [last]
    while path[-1] != first:
        path.append(int(before[path[-1]]))
    return np.array(path[::-1])

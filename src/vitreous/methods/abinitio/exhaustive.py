"""Every rotation of a grid at every shift, by matrix products.

The likelihood of an image at a pose is linear in the image once it is weighed, so the scores of a
batch at all poses are one product of (images · shifts, pixels) with (pixels, rotations), and what
the images add to every slice is its transpose.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float, Int

from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.reconstruction.weighed import Weighed, shift_phases


class Trials(NamedTuple):
    """Hold the poses that are tried, and what a reference looks like there.

    **Fields:** `rotation`: `q` of them. `slices`: `(classes · q, 2p)`, real parts, then imaginary
    ones. `square`: their power `(classes · q, p)`. `shift` in pixels.
    """

    rotation: Float[Array, "q 3 3"]
    slices: Float[Array, "cq pp"]
    square: Float[Array, "cq p"]
    shift: Float[Array, "s 2"]


class Scores(NamedTuple):
    """Hold what matrix products give: `cross`, Re ⟨image, slice⟩, and `power` of each slice."""

    cross: Float[Array, "b s cq"]
    power: Float[Array, "b cq"]
    centred: Float[Array, "b s pp"]

    @property
    def likelihood(self) -> Float[Array, "b s cq"]:
        """Log likelihood ratio against an empty image."""
        return self.cross - 0.5 * self.power[:, None]


def trials(
    rotation: Float[Array, "q 3 3"], slices: Complex[Array, "cq p"], shift: Float[Array, "s 2"]
) -> Trials:
    """Lay slices out for `score_all`."""
    planes = jnp.concatenate([slices.real, slices.imag], axis=-1)
    return Trials(rotation, planes, slices.real**2 + slices.imag**2, shift)


def score_all(weighed: Weighed, tried: Trials, pixels: FourierPixels) -> Scores:
    """Score a batch at every rotation and shift."""
    count = weighed.data.shape[-1]
    b, s = len(weighed.data), len(tried.shift)
    centred = weighed.data[:, None] * shift_phases(tried.shift, pixels, count)[None]
    planes = jnp.concatenate([centred.real, centred.imag], axis=-1)
    cross = planes.reshape(b * s, 2 * count) @ tried.slices.T
    power = weighed.power @ tried.square.T
    return Scores(cross.reshape(b, s, -1), power, planes)


class SliceEvidence(NamedTuple):
    """Hold what images added to each tried slice, and to the total evidence.

    **Fields:** `numerator`: `(cq, 2p)`. `weight`: `(cq, p)`. `square`: weighed power of the images
    by pixel. `evidence`: sum of log evidence. `edge`: images that like a shift at the rim best.
    """

    numerator: Float[Array, "cq pp"]
    weight: Float[Array, "cq p"]
    square: Float[Array, " p"]
    evidence: Float[Array, ""]
    edge: Float[Array, ""]


def no_evidence(tried: Trials) -> SliceEvidence:
    """Return zeros."""
    return SliceEvidence(
        jnp.zeros_like(tried.slices),
        jnp.zeros_like(tried.square),
        jnp.zeros(tried.square.shape[-1]),
        jnp.zeros(()),
        jnp.zeros(()),
    )


def add_softly(
    total: SliceEvidence,
    weighed: Weighed,
    tried: Trials,
    pixels: FourierPixels,
    sharpness: Float[Array, ""],
    counted: Float[Array, " b"],
) -> SliceEvidence:
    """Add a batch to all slices in proportion to the posterior of its poses.

    **Arguments:** `sharpness`: power to which likelihoods are taken; below 1 poses stay open.
    `counted`: 1, or 0 for rows that only fill the batch up.
    """
    scores = score_all(weighed, tried, pixels)
    b, s, q = scores.cross.shape
    exponent = sharpness * scores.likelihood
    peak = jnp.max(exponent, axis=(1, 2), keepdims=True)
    likely = jnp.exp(exponent - peak)
    whole = jnp.sum(likely, axis=(1, 2), keepdims=True)
    posterior = likely * (counted[:, None, None] / whole)
    evidence = jnp.log(whole[:, 0, 0] / (s * q)) + peak[:, 0, 0]
    reach = jnp.max(jnp.linalg.norm(tried.shift, axis=-1))
    rim = jnp.linalg.norm(tried.shift, axis=-1) > 0.8 * reach
    at_rim = jnp.sum(jnp.where(rim[None], jnp.sum(posterior, axis=2), 0))
    planes = scores.centred.reshape(b * s, -1)
    return SliceEvidence(
        total.numerator + posterior.reshape(b * s, q).T @ planes,
        total.weight + jnp.sum(posterior, axis=1).T @ weighed.power,
        total.square + jnp.sum(weighed.square, axis=0),
        total.evidence + jnp.sum(evidence * counted),
        total.edge + at_rim,
    )


def promising(
    scores: Scores, neighbours: Int[Array, "q m"], classes: int, count: int
) -> tuple[Int[Array, "b c"], Int[Array, "b c"], Float[Array, "b c"]]:
    """Pick rotations that score higher than all around them, so that no two are alike.

    **Returns:** which slice, which shift, and the score, of the `count` best.
    """
    likelihood = scores.likelihood
    best, where = jnp.max(likelihood, axis=1), jnp.argmax(likelihood, axis=1)
    b = len(best)
    by_class = best.reshape(b, classes, -1)
    around = by_class[:, :, neighbours[:, 0]]
    for i in range(1, neighbours.shape[1]):
        around = jnp.maximum(around, by_class[:, :, neighbours[:, i]])
    # A maximum loses nothing; what stands on a slope comes after all maxima.
    slope = jnp.maximum(around - by_class, 0).reshape(b, -1)
    rank = jnp.where(slope > 0, best - 1e6, best)
    _, place = jax.lax.top_k(rank, count)
    shift = jnp.take_along_axis(where, place, axis=1)
    return place, shift, jnp.take_along_axis(best, place, axis=1)

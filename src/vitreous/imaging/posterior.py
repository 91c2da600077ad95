"""The probability of images given a structure, whatever their poses: BioEM's sums, batched.

Every image is compared with every rotation of a list and every shift of another; scale and offset
are integrated in closed form, poses by log-sum-exp. Products of images and slices are one matrix
product a chunk of rotations.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vitreous.geometry.fourier import half_plane, half_plane_weights
from vitreous.imaging.formation import shift_factor
from vitreous.imaging.image_model import ImageModel
from vitreous.imaging.likelihood import (
    GaussianPrior,
    Products,
    fourier_log_likelihood,
    marginal_likelihood,
)
from vitreous.imaging.optics.transfer import image_transfer
from vitreous.imaging.parameters import resolve
from vitreous.imaging.projection.project import project


class PosePosterior(NamedTuple):
    """Hold what images say of their poses.

    **Fields:** `log_evidence`: ln p(image | structure), poses, scale and offset integrated.
    `rotation`, `shift`: the best pair, indices into the lists. `log_density`: ln p at that pair.
    `log_weight`: ln of the posterior probability of every rotation, shifts summed, `(b, r)`.
    """

    log_evidence: Float[Array, " b"]
    rotation: Int[Array, " b"]
    shift: Int[Array, " b"]
    log_density: Float[Array, " b"]
    log_weight: Float[Array, "b r"]


def shift_grid(radius: float, step: float) -> Float[np.ndarray, "t 2"]:
    """List the shifts `(tx, ty)` of a square grid at most `radius` Å from the origin, float32."""
    reach = int(np.floor(radius / step + 1e-9))
    axis = np.arange(-reach, reach + 1) * step
    grid = np.stack(np.meshgrid(axis, axis, indexing="xy"), axis=-1).reshape(-1, 2)
    return grid[np.linalg.norm(grid, axis=-1) <= radius * (1 + 1e-9)].astype(np.float32)


class _ImageTerms(NamedTuple):
    """What of the images enters every comparison, noise and CTF divided in.

    **Fields:** `data`: moved by every shift, real and imaginary parts side by side, so that
    ⟨d, m⟩ is one real matrix product. `squares`: weight of |m|². `zero_transfer`: the CTF at
    frequency 0. `mean`: of the images, and `inverse`: 1 / noise power, there. `null`: log
    likelihood of the images as noise alone.
    """

    data: Float[Array, "b t q"]
    squares: Float[Array, "b p"]
    zero_transfer: Float[Array, "c 1"]
    mean: Float[Array, "b 1 1"]
    inverse: Float[Array, ""]
    null: Float[Array, "b 1 1"]


def _image_terms(
    model: ImageModel, observed: Float[Array, "b n n"], shifts: Float[Array, "t 2"]
) -> _ImageTerms:
    """Move images by every shift, and weigh their pixels."""
    assert model.noise is not None
    grid, dtype = model.grid, observed.dtype
    power = model.noise.power_on(grid)
    points = grid.frequencies().reshape(-1, 2)
    weight = jnp.asarray(half_plane_weights(grid.box), dtype)[None] / (grid.box**2 * power)
    weight = weight.reshape(1, -1)
    half = half_plane(observed)
    transfer = jnp.ones((1, len(points)), dtype)
    moved = half[:, None] * shift_factor(grid, -shifts)[None]
    if model.optics is not None:
        complete = image_transfer(model.optics, grid).reshape(-1, grid.box, grid.columns)
        # Odd phases turn the observed images instead of the slices.
        transfer = complete.real
        if jnp.iscomplexobj(complete):
            transfer = jnp.abs(complete)
            size = jnp.where(transfer > 0, transfer, 1).astype(complete.dtype)
            moved = moved * (complete / size).conj()[:, None]
        transfer = transfer.reshape(-1, len(points)) * model.optics.interaction.reshape(-1, 1)
    if model.filter is not None:
        transfer = transfer * model.filter(points)[None]
    moved = moved.reshape(*moved.shape[:2], -1)
    by_transfer = (weight * transfer)[:, None]
    squares = jnp.broadcast_to(weight * transfer**2, (len(observed), transfer.shape[1]))
    inverse = 1 / power[0, 0]
    return _ImageTerms(
        jnp.concatenate([moved.real * by_transfer, moved.imag * by_transfer], axis=-1),
        squares,
        transfer[:, :1],
        (half[:, 0, 0].real * inverse)[:, None, None],
        inverse,
        fourier_log_likelihood(half, power)[:, None, None],
    )


@eqx.filter_jit
def pose_posterior(
    model: ImageModel,
    observed: Float[Array, "b n n"],
    rotations: Float[Array, "r 3 3"],
    shifts: Float[Array, "t 2"],
    *,
    scale_prior: GaussianPrior | None = None,
    offset_prior: GaussianPrior | None = None,
    positive_scale: bool = True,
    chunk: int = 64,
) -> PosePosterior:
    """Integrate the likelihood of images over a grid of poses, all equally probable beforehand.

    **Arguments:** `model`: its pose, scale and offset are not used; optics may be one for each
    image. `rotations`: for instance `geometry.so3_grid.so3_grid(order)`. `shifts`: Å, see
    `shift_grid`. Priors: see `marginal_likelihood`. `chunk`: rotations at a time; memory is
    `b · t · (box² + chunk)` numbers.

    **Raises:** `ValueError` if the model is not linear, has no noise, or has ice, mask or detector.
    """
    model = resolve(model)
    extra = (model.ice, model.mask, model.detector)
    if model.noise is None or model.theory != "linear" or any(x is not None for x in extra):
        raise ValueError(
            "poses are integrated for linear models with noise, without ice, mask or detector"
        )
    grid, dtype = model.grid, observed.dtype
    terms = _image_terms(model, observed, shifts)
    ones = jnp.full((1, 1, 1), grid.box**2, dtype) * terms.inverse

    def compare(rotation: Float[Array, "c 3 3"]) -> Float[Array, "b t c"]:
        if model.optics is not None:
            rotation = model.optics.distorted(rotation)
        views = project(model.volume, rotation, grid, model.method).reshape(len(rotation), -1)
        real = jnp.concatenate([views.real, views.imag], axis=-1).astype(dtype)
        energy = (views.real**2 + views.imag**2).astype(dtype)
        cross = jnp.einsum("btp,cp->btc", terms.data, real, precision="highest")
        norm = jnp.matmul(terms.squares, energy.T, precision="highest")[:, None]
        mean = (terms.zero_transfer * real[None, :, 0] * terms.inverse)[:, None]
        parts = (norm, cross, mean, terms.mean, ones, terms.null)
        wide = Products(*(jnp.broadcast_to(part, cross.shape) for part in parts))
        return marginal_likelihood(wide, scale_prior, offset_prior, positive_scale)

    count, chunk = len(rotations), min(chunk, len(rotations))
    missing = -count % chunk
    filled = jnp.concatenate([rotations, jnp.broadcast_to(rotations[:1], (missing, 3, 3))])

    def visit(rotation: Float[Array, "c 3 3"]):
        density = compare(rotation)
        best = jnp.argmax(density, axis=1)
        return (
            jax.scipy.special.logsumexp(density, axis=1),
            jnp.max(density, axis=1),
            best,
        )

    summed, highest, place = jax.lax.map(visit, filled.reshape(-1, chunk, 3, 3))
    summed, highest, place = (
        jnp.moveaxis(x, 0, 1).reshape(len(observed), -1)[:, :count]
        for x in (summed, highest, place)
    )
    total = jax.scipy.special.logsumexp(summed, axis=1)
    rotation = jnp.argmax(highest, axis=1)
    rows = jnp.arange(len(observed))
    return PosePosterior(
        total - np.log(count * len(shifts)),
        rotation,
        place[rows, rotation],
        highest[rows, rotation],
        summed - total[:, None],
    )


def structure_posterior(
    log_evidence: Float[Array, "s b"], log_prior: Float[Array, " s"] | None = None
) -> Float[Array, " s"]:
    """Weigh structures by all images together: `p(s | images) ∝ p(s) Π p(image | s)`.

    **Arguments:** `log_evidence`: of `pose_posterior`, one row a structure.
    """
    total = jnp.sum(log_evidence, axis=1)
    return jax.nn.softmax(total if log_prior is None else total + log_prior)

"""A first deformation field and first latents from a landscape of maps.

A field learned from images alone never bends a consensus that is the smear of a large motion. Maps
at many places of a landscape show the molecule in each conformation; a cloud of points followed
from one to the next says how each part moved, and a few modes sum that up.
"""

import logging
from dataclasses import dataclass
from functools import cached_property

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist

from vitreous.methods.flexible.deformation import FactorisedDeformation
from vitreous.methods.flexible.starts.anchors import (
    Anchors,
    anchor_maps,
    choose_anchors,
    most_open,
    spanning_steps,
)
from vitreous.methods.flexible.starts.rigid_shape import RigidShape
from vitreous.methods.flexible.starts.tracking import Track, cloud_of_map, thin_out, track
from vitreous.reconstruction.kernel_regression import KernelRegression
from vitreous.reconstruction.rings import latent_distance

logger = logging.getLogger(__name__)

# Points that are followed; modes of less than this share of the motion are noise.
_NODES, _SHARE = 350, 0.01
# Followed points that carry a point between them.
_CARRIERS = 6
# Steps of fitting a network to modes, its rate, and the points it is shown.
_STEPS, _RATE, _SHOWN = 600, 5e-3, 4000


@dataclass(frozen=True, eq=False)
class LandscapeStart:
    """Hold what following a cloud through a landscape gave.

    **Fields:** `anchors` and the `track` through them. `reference`: place of the anchor where
    nothing is displaced. `reference_map`: there, `(z, y, x)`, whole box, prepared units.
    `weights` of the modes in each image, `(n, k)`: first latents, 0 in the reference.
    """

    anchors: Anchors
    track: Track
    reference: int
    reference_map: Float[np.ndarray, "b b b"]
    weights: Float[np.ndarray, "n k"]

    def displacements(self, points: Float[np.ndarray, "m 3"]) -> Float[np.ndarray, "a m 3"]:
        """Return how far points (Å, in the reference) are moved at each anchor."""
        return np.stack([carry(points, self.track, x) for x in self.track.positions])

    def modes(self, points: Float[np.ndarray, "m 3"]) -> Float[np.ndarray, "m k 3"]:
        """Return displacement modes at points, Å a unit of weight."""
        moved = self.displacements(points).reshape(len(self.anchors.latents), -1)
        solved = np.linalg.lstsq(self._anchor_weights, moved, rcond=None)[0]
        return np.swapaxes(solved.reshape(-1, len(points), 3), 0, 1)

    @cached_property
    def _anchor_weights(self) -> Float[np.ndarray, "a k"]:
        return mode_weights(self.track, self.weights.shape[1])


def start_from_landscape(
    regression: KernelRegression,
    latents: Float[np.ndarray, "n d"],
    modes: int,
    covariance: Float[np.ndarray, "n d d"] | None = None,
    anchors: int = 24,
    seed: int = 0,
) -> LandscapeStart:
    """Follow the molecule through the maps of a landscape.

    **Arguments:** `regression`: makes maps of the images. `latents` of each image in the
    landscape. `modes`: how many displacement modes at most.
    """
    latents = np.asarray(latents, np.float64)
    chosen = choose_anchors(latents, anchors, seed)
    places = anchor_maps(regression, latents, chosen, covariance=covariance)
    clouds = [cloud_of_map(one, places.voxel_size) for one in places.maps]
    reference = most_open(clouds)
    tree, loops = spanning_steps(places.maps, reference)
    found = track(thin_out(clouds[reference], _NODES, seed), clouds, tree, loops)
    middle = latent_distance(latents, covariance, places.latents[reference])
    return LandscapeStart(
        places,
        found,
        reference,
        regression(middle).volume,
        start_from_anchors(found, places.latents, latents, modes),
    )


def start_from_anchors(
    found: Track,
    anchors: Float[np.ndarray, "a d"],
    latents: Float[np.ndarray, "n d"],
    modes: int,
) -> Float[np.ndarray, "n k"]:
    """Give each image weights of displacement modes: a kernel average of those of its anchors.

    **Arguments:** `anchors`: their latents; `latents` of the images, in the same landscape.
    """
    weights = mode_weights(found, modes)
    distance = cdist(anchors, anchors) + np.where(np.eye(len(anchors)), np.inf, 0)
    width = 0.4 * float(np.median(distance.min(axis=1))) if len(anchors) > 1 else 1.0
    square = cdist(latents, anchors, "sqeuclidean")
    share = np.exp(-0.5 * (square - square.min(axis=1, keepdims=True)) / width**2)
    share /= share.sum(axis=1, keepdims=True)
    return (share @ weights).astype(np.float32)


def mode_weights(found: Track, modes: int) -> Float[np.ndarray, "a k"]:
    """Weigh the principal modes of displacement at each anchor; root mean square 1.

    No mean is taken off: where nothing is displaced, all weights are 0.
    """
    moved = found.positions - found.rest.points[None]
    flat = (moved * np.sqrt(found.rest.mass)[None, :, None]).reshape(len(moved), -1)
    left, size, _ = np.linalg.svd(flat, full_matrices=False)
    power = size**2
    total = max(float(power.sum()), 1e-30)
    kept = max(1, min(modes, int((power > _SHARE**2 * total).sum())))
    logger.info("%d modes hold %.1f %% of the motion", kept, 100 * power[:kept].sum() / total)
    return left[:, :kept] * np.sqrt(len(left))


def carry(
    points: Float[np.ndarray, "m 3"], found: Track, positions: Float[np.ndarray, "g 3"]
) -> Float[np.ndarray, "m 3"]:
    """Displace points by the followed points around them, each with its own turn.

    **Source:** Sumner, Schmid & Pauly (2007), embedded deformation.
    """
    rest = found.rest.points
    shape = RigidShape(rest, found.edges, found.strength)
    turns = shape.turns(positions)
    count = min(_CARRIERS, len(rest))
    distance, near = (np.reshape(x, (-1, count)) for x in KDTree(rest).query(points, k=count))
    width = 0.5 * np.median(distance[:, -1]) + 1e-9
    square = distance**2 - distance[:, :1] ** 2
    share = np.exp(-0.5 * square / width**2)
    share /= share.sum(axis=1, keepdims=True)
    arm = points[:, None] - rest[near]
    there = np.einsum("mnij,mnj->mni", turns[near], arm) + positions[near]
    return np.einsum("mn,mni->mi", share, there) - points


def fit_modes(
    field: FactorisedDeformation,
    points: Float[np.ndarray, "m 3"],
    modes: Float[np.ndarray, "m k 3"],
    seed: int = 0,
) -> FactorisedDeformation:
    """Teach a field some modes: latent `z_k` becomes the weight of mode k, other modes start at 0.

    **Arguments:** `points` (Å) where the modes (Å) are known. The field has as many latent
    dimensions as there are modes, or more.
    """
    count = modes.shape[1]
    zdim, total = field.linear.shape
    if count > min(zdim, total):
        raise ValueError(f"{count} modes, but {zdim} latent dimensions and {total} modes to hold")
    rng = np.random.default_rng(seed)
    shown = rng.permutation(len(points))[:_SHOWN]
    wanted = np.zeros((len(shown), total, 3), np.float32)
    wanted[:, :count] = modes[shown]
    linear = jnp.eye(zdim, total, dtype=field.linear.dtype)
    last = field.bend[-1]
    # Only `linear` says how latents weigh the modes, until training says otherwise.
    still = jax.tree.map(jnp.zeros_like, eqx.filter(last, eqx.is_array))
    field = eqx.tree_at(lambda f: (f.linear, f.bend), field, (linear, (*field.bend[:-1], still)))
    return _teach(field, jnp.asarray(points[shown], jnp.float32), jnp.asarray(wanted))


@eqx.filter_jit
def _teach(
    field: FactorisedDeformation, points: Float[Array, "m 3"], wanted: Float[Array, "m k 3"]
) -> FactorisedDeformation:
    adam = optax.adam(optax.cosine_decay_schedule(_RATE, _STEPS))
    layers, fixed = eqx.partition(field.space, eqx.is_array)

    def misfit(layers):
        whole = eqx.tree_at(lambda f: f.space, field, eqx.combine(layers, fixed))
        return jnp.mean((whole.modes(points) - wanted) ** 2) / field.reach**2

    def body(carried, _):
        layers, state = carried
        slope = jax.grad(misfit)(layers)
        with jax.numpy_dtype_promotion("standard"):
            change, state = adam.update(slope, state)
        return (optax.apply_updates(layers, change), state), None

    (layers, _), _ = jax.lax.scan(body, (layers, adam.init(layers)), None, length=_STEPS)
    return eqx.tree_at(lambda f: f.space, field, eqx.combine(layers, fixed))

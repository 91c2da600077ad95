"""Rigid bodies: every body turns and moves as one, and seams between them are smooth.

A body has a share of every point near it; shares of neighbouring bodies add up to 1, so that a
point on a seam goes part of the way with each. A body turns about its own centre.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Bool, Float

from vitreous.geometry.rotations import rotation_vector_to_matrix
from vitreous.methods.flexible.bodies.masks import body_shares, shares_on_grid
from vitreous.methods.flexible.deformation import Deformation, mix_modes
from vitreous.training.networks.residual_mlp import Linear

# Shares are smooth: they are kept on a grid of no more voxels a side than this.
_GRID = 48


class RigidBodies(Deformation):
    """Turn and move bodies: `δ(p, z) = Σ_b s_b(p) [(R_b(z) − 1)(p − c_b) + t_b(z)]`.

    It is linear in the matrices and translations, so that it has modes and weights as
    `FactorisedDeformation` has, twelve a body.

    **Fields:** `shares` of the bodies on a grid of `voxel_size` Å; `centres` (Å). `linear`, and
    layers `bend` of a matrix that depends on z, say what z does: rotation vectors in units of
    `turn` (degrees) and translations in units of `reach` (Å).
    """

    shares: Float[Array, "k n n n"]
    centres: Float[Array, "k 3"]
    linear: Float[Array, "d c"]
    bend: tuple[Linear, ...]
    voxel_size: float = eqx.field(static=True)
    turn: float = eqx.field(static=True)
    reach: float = eqx.field(static=True)

    def shares_at(self, points: Float[Array, "m 3"]) -> Float[Array, "m k"]:
        """Return each body's share of some points; 0 far from all of them."""
        size = self.shares.shape[-1]
        place = points[:, ::-1].T / self.voxel_size + size // 2
        fixed = jax.lax.stop_gradient(self.shares)
        return jnp.stack([map_coordinates(one, list(place), 1) for one in fixed], axis=-1)

    def motions(
        self, z: Float[Array, "b d"]
    ) -> tuple[Float[Array, "b k 3"], Float[Array, "b k 3"]]:
        """Return rotation vectors (degrees) and translations (Å) of the bodies; 0 at z = 0."""
        bent = z
        for layer in self.bend[:-1]:
            bent = jax.nn.silu(layer(bent))
        matrix = self.bend[-1](bent).reshape(len(z), z.shape[1], -1)
        out = z @ self.linear + jnp.sum(z[..., None] * matrix, axis=1)
        out = out.reshape(len(z), -1, 6)
        return self.turn * out[..., :3], self.reach * out[..., 3:]

    def modes(self, points: Float[Array, "m 3"]) -> Float[Array, "m k 3"]:
        """Evaluate all modes at some points: unit matrices and translations of each body."""
        share = self.shares_at(points)[:, :, None]
        centres = jax.lax.stop_gradient(self.centres)
        arm = (points[:, None] - centres[None]) * share
        parts = jnp.concatenate([arm, share], axis=-1)
        # Mode (i, j) of a body moves along i what lies along j; j = 3 moves all of it.
        every = jnp.eye(3, dtype=points.dtype)[None, None, :, None] * parts[:, :, None, :, None]
        return every.reshape(len(points), -1, 3)

    def weights(self, z: Float[Array, "b d"]) -> Float[Array, "b k"]:
        """Evaluate matrices less the identity, and translations, in the order of the modes."""
        vector, move = self.motions(z)
        matrix = rotation_vector_to_matrix(vector) - jnp.eye(3, dtype=z.dtype)[None, None]
        return jnp.concatenate([matrix, move[..., None]], axis=-1).reshape(len(z), -1)

    def __call__(
        self, points: Float[Array, "m 3"], z: Float[Array, "b d"]
    ) -> Float[Array, "b m 3"]:
        """Return displacements in Å."""
        return mix_modes(self.modes(points), self.weights(z))


class BodyPlan(NamedTuple):
    """Hold what masks say of bodies, in plain arrays.

    **Fields:** `shares` on a grid of `voxel_size` Å, `centres` and `radii` (root mean square) of
    the bodies, Å.
    """

    shares: Float[np.ndarray, "k n n n"]
    centres: Float[np.ndarray, "k 3"]
    radii: Float[np.ndarray, " k"]
    voxel_size: float


def plan_bodies(
    masks: Bool[np.ndarray, "k n n n"],
    voxel_size: float,
    seam: float = 8.0,
    density: Float[np.ndarray, "n n n"] | None = None,
) -> BodyPlan:
    """Find shares and centres of bodies.

    **Arguments:** `masks`: disjoint, see `read_body_masks`. `seam`: Å over which one body gives
    way to another. `density`: weighs a body's voxels for its centre.
    """
    n = masks.shape[-1]
    axis = (np.arange(n) - n // 2) * voxel_size
    centres, radii = [], []
    for mask in masks:
        weight = mask if density is None else mask * np.maximum(density, 0) + 1e-9 * mask
        index = np.argwhere(mask)
        places = axis[index[:, ::-1]]
        mass = weight[tuple(index.T)].astype(np.float64)
        centre = np.average(places, axis=0, weights=mass)
        centres.append(centre)
        radii.append(np.sqrt(np.average(np.sum((places - centre) ** 2, axis=1), weights=mass)))
    shares, size = shares_on_grid(body_shares(masks, voxel_size, seam), voxel_size, _GRID)
    return BodyPlan(
        shares.astype(np.float32),
        np.stack(centres).astype(np.float32),
        np.maximum(radii, voxel_size).astype(np.float32),
        float(size),
    )


def make_bodies(
    plan: BodyPlan, zdim: int, reach: float, key: jax.Array, *, width: int = 64
) -> RigidBodies:
    """Make bodies that move a little, at random.

    **Arguments:** `reach`: the size of displacements expected, Å. `width` of the hidden layer.
    """
    k_linear, k_first, k_last = jax.random.split(key, 3)
    outputs = 6 * len(plan.centres)
    linear = jax.random.normal(k_linear, (zdim, outputs)) * (6 * zdim) ** -0.5
    last = Linear(width, zdim * outputs, k_last)
    # At first the network says little next to the linear part.
    small = (0.1 * last.weight, jnp.zeros_like(last.bias))
    last = eqx.tree_at(lambda layer: (layer.weight, layer.bias), last, small)
    return RigidBodies(
        jnp.asarray(plan.shares),
        jnp.asarray(plan.centres),
        linear,
        (Linear(zdim, width, k_first), last),
        float(plan.voxel_size),
        float(np.float32(np.rad2deg(reach / float(np.mean(plan.radii))))),
        float(np.float32(reach)),
    )

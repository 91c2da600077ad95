"""The rigid motion that comes nearest to a deformation, of each body in each particle."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

Fields = Float[np.ndarray, "f g 3"]


class Moments(NamedTuple):
    """Hold of displacement fields what a rigid fit needs; linear in the fields.

    **Fields:** `cross`: `Σ w δ (p − c)ᵀ`; `mean`: `Σ w δ`.
    """

    cross: Float[np.ndarray, "f 3 3"]
    mean: Float[np.ndarray, "f 3"]

    def mixed(self, weights: Float[np.ndarray, "b f"]) -> "Moments":
        """Return the moments of mixtures of the fields."""
        return Moments(np.einsum("bf,fij->bij", weights, self.cross), weights @ self.mean)


class Rigid(NamedTuple):
    """Hold motions `p → R p + s` (Å)."""

    rotation: Float[np.ndarray, "b 3 3"]
    shift: Float[np.ndarray, "b 3"]


class Body(NamedTuple):
    """Hold points of a body with weights that add up to 1."""

    points: Float[np.ndarray, "g 3"]
    weight: Float[np.ndarray, " g"]

    @classmethod
    def of(cls, points: Float[np.ndarray, "g 3"], weight: Float[np.ndarray, " g"]) -> "Body":
        """Make a body of any weights."""
        mass = np.asarray(weight, np.float64)
        return cls(np.asarray(points, np.float64), mass / mass.sum())

    @property
    def centre(self) -> Float[np.ndarray, " 3"]:
        """Mean place of the points."""
        return self.weight @ self.points

    def moments(self, fields: Fields) -> Moments:
        """Sum up displacement fields (Å) given at the body's points."""
        pull = fields.astype(np.float64) * self.weight[None, :, None]
        arm = self.points - self.centre
        return Moments(np.einsum("fgi,gj->fij", pull, arm), pull.sum(axis=1))

    def fit(self, moments: Moments) -> Rigid:
        """Find the rotation and shift nearest to displacements, in the least-squares sense.

        **Source:** Kabsch (1976) Acta Cryst. A32, 922.
        """
        arm = self.points - self.centre
        rest = np.einsum("g,gi,gj->ij", self.weight, arm, arm)
        u, _, vt = np.linalg.svd(rest[None] + moments.cross)
        # A point or a line has turns that move nothing: a proper rotation all the same.
        u[:, :, 2] *= np.sign(np.linalg.det(u @ vt))[:, None]
        rotation = u @ vt
        there = self.centre[None] + moments.mean
        return Rigid(rotation, there - np.einsum("bij,j->bi", rotation, self.centre))

    def misfit(self, fields: Fields, rigid: Rigid) -> Float[np.ndarray, "f g"]:
        """Return how far each point lies from where a rigid motion puts it, Å."""
        there = self.points @ np.swapaxes(rigid.rotation, 1, 2) + rigid.shift[:, None]
        return np.linalg.norm(self.points[None] + fields - there, axis=2)


def body_pose(
    rotation: Float[np.ndarray, "n 3 3"],
    shift: Float[np.ndarray, "n 2"],
    motion: Rigid,
) -> tuple[Float[np.ndarray, "n 3 3"], Float[np.ndarray, "n 2"]]:
    """Return the poses in which images show a body as it is at rest.

    **Arguments:** `rotation` (volume to image) and `shift` (Å) of whole particles.
    """
    turned = rotation @ motion.rotation
    moved = np.einsum("nij,nj->ni", rotation, motion.shift)[:, :2]
    return turned, shift + moved

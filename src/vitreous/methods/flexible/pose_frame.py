"""Corrections of poses that go with the conformation: these are motion, and left to the field.

A molecule that bends may as well be said to turn as a whole while its other part bends the other
way. Errors of poses know nothing of conformations: what corrections of images of like latents have
in common is taken off them, and the field has to say it.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from vitreous.methods.flexible.state import FlexibleState
from vitreous.particles.processes import as_first

# Ridge, as a share of the images.
_RIDGE = 1e-3


def features(z: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "m f"]:
    """Tabulate a constant, the latents, and their products."""
    i, j = np.triu_indices(z.shape[1])
    return np.concatenate([np.ones_like(z[:, :1]), z, z[:, i] * z[:, j]], axis=1)


def framed(
    state: FlexibleState,
    half: Int[np.ndarray, " n"],
    rotation: Float[np.ndarray, "n 3 3"],
) -> FlexibleState:
    """Leave motion to the field: see `without_motion`, either half by itself."""
    if state.poses is None:
        return state
    values, latents = np.array(state.poses.values), np.asarray(state.latents)
    for side in range(2):
        rows = np.flatnonzero(half == side)
        values[rows] = without_motion(values[rows], rotation[rows], latents[rows])
    return eqx.tree_at(lambda s: s.poses.values, state, jnp.asarray(values))


def without_motion(
    correction: Float[np.ndarray, "m 5"],
    rotation: Float[np.ndarray, "m 3 3"],
    latents: Float[np.ndarray, "m d"],
) -> Float[np.ndarray, "m 5"]:
    """Take off corrections what latents tell of them, in the molecule's frame.

    **Arguments:** `correction`: see `corrected_pose`. `rotation`: given ones, volume to image.
    """
    told = features(latents.astype(np.float64))
    # A turn has all three components in an image, a shift only two.
    parts = []
    for rows, seen in ((3, correction[:, :3]), (2, correction[:, 3:])):
        design = np.einsum("mij,mf->mijf", rotation[:, :rows], told).reshape(len(told) * rows, -1)
        ridge = _RIDGE * len(told) * np.eye(design.shape[1])
        weights = np.linalg.solve(design.T @ design + ridge, design.T @ seen.reshape(-1))
        weights = as_first(weights.astype(np.float32))
        parts.append((design @ weights).reshape(-1, rows))
    return (correction - np.concatenate(parts, axis=1)).astype(np.float32)

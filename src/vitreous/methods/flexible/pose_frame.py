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
    """Take off turns what latents tell of them, in the molecule's frame.

    Shifts stay: their errors may well be larger than what a part's motion moves the whole by, and
    latents then begin by telling these.

    **Arguments:** `correction`: see `corrected_pose`. `rotation`: given ones, volume to image.
    """
    told = features(latents.astype(np.float64))
    turn = np.einsum("mij,mi->mj", rotation, correction[:, :3])
    ridge = _RIDGE * len(told) * np.eye(told.shape[1])
    weights = np.linalg.solve(told.T @ told + ridge, told.T @ turn)
    common = told @ as_first(weights.astype(np.float32))
    left = correction.copy()
    left[:, :3] -= np.einsum("mij,mj->mi", rotation, common)
    return left.astype(np.float32)

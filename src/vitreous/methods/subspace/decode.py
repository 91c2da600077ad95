"""Decode volumes from a subspace run: mean plus components, on the full box."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from vitreous.errors import InputError
from vitreous.methods.subspace.model import band_limited
from vitreous.training.run import Run

STATE_FILE = "subspace.npz"


@partial(jax.jit, static_argnames="box")
def _combine(z, volumes, consensus, scale, box: int):
    size = volumes.shape[-1]
    change = jnp.einsum("mk,kxyz->mxyz", z, volumes[1:], precision="highest")
    # The consensus keeps its fine detail; the band's own mean corrects it where it is known.
    mean = volumes[0] - band_limited(consensus, size)
    return (consensus[None] + band_limited(mean[None] + change, box)) * scale


def load_decoder(
    run: Run, epoch: int | None = None
) -> Callable[[Float[np.ndarray, "m d"]], Float[np.ndarray, "m n n n"]]:
    """Return the function from latents to volumes of a run, in the units of its images."""
    arrays = run.checkpoints.load(run.checkpoints.at_epoch(epoch))
    names = ("volumes", "consensus")
    if not set(names) <= set(arrays):
        raise InputError(f"{run.checkpoints.folder}: the checkpoint was made by another model")
    volumes, consensus = (jnp.asarray(arrays[name]) for name in names)
    scale = jnp.asarray(run.config["normalization"][1] * run.box, jnp.float32)

    def decode(z: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "m n n n"]:
        made = _combine(jnp.asarray(z, jnp.float32), volumes, consensus, scale, run.box)
        return np.asarray(made)

    return decode

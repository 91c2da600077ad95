"""Decode volumes from an ab initio run: the map, plus what its latents multiply."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vitreous.errors import InputError
from vitreous.training.run import Run

# In the folder of the run: the map, then what latents multiply, in units of prepared pixels.
MAPS_FILE = "maps.npz"


@jax.jit
def combine(
    z: Float[Array, "m d"], volumes: Float[Array, "k n n n"], scale: Float[Array, ""]
) -> Float[Array, "m n n n"]:
    """Return `scale · (volumes[0] + Σ z_k volumes[k])` for every row of `z`."""
    change = jnp.einsum("mk,kxyz->mxyz", z, volumes[1:], precision="highest")
    return (volumes[0][None] + change) * scale


def load_decoder(
    run: Run, epoch: int | None = None
) -> Callable[[Float[np.ndarray, "m d"]], Float[np.ndarray, "m n n n"]]:
    """Return the function from latents to volumes of a run, in the units of its images.

    A run without latents gives its map once for every row, whatever the row holds. Only the last
    maps are kept: they are given for every epoch.
    """
    file = run.path / MAPS_FILE
    if not file.is_file():
        raise InputError(f"{run.path}: stopped before it had a map; continue it with --resume")
    with np.load(file, allow_pickle=False) as stored:
        volumes = jnp.asarray(stored["volumes"])
    scale = jnp.asarray(run.config["normalization"][1] * run.box, jnp.float32)
    dimensions = len(volumes) - 1

    def decode(z: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "m n n n"]:
        if dimensions == 0:
            z = np.zeros((len(z), 0), np.float32)
        elif z.shape[1] != dimensions:
            raise InputError(f"{run.path}: its latents have {dimensions} numbers, not {z.shape[1]}")
        return np.asarray(combine(jnp.asarray(z, jnp.float32), volumes, scale))

    return decode

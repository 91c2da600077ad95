"""What a latent fit changes: networks, optimiser, and tables with one row a particle."""

import operator
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from vitreous.methods.latent.encoder import Encoder, LiftEncoder
from vitreous.methods.latent.tilt_encoder import LiftedTiltEncoder
from vitreous.training.networks.decoder import Decoder
from vitreous.training.row_adam import RowTable


class LatentModel(eqx.Module):
    """Hold the networks; `encoder` is None unless the latents are inferred by one."""

    decoder: Decoder
    encoder: Encoder | None


class LatentState(eqx.Module):
    """Hold all that a fit changes.

    **Fields:** `latents`: free latents, one row a particle (autodecoder), or where an encoder is
    led to at first (a VAE that starts from another run). `poses`: corrections of
    the poses, `(n, 5)`: degrees and Å (with `refine_poses`).
    """

    model: LatentModel
    optimizer: optax.OptState
    latents: RowTable | None
    poses: RowTable | None
    images_seen: Int[Array, ""]


def trainable(model: LatentModel) -> Any:
    """Mark the arrays that gradients move: networks, but no encodings, scales or consensus."""
    mask = jax.tree.map(eqx.is_inexact_array, model)
    mask = eqx.tree_at(lambda m: m.decoder.amplitude, mask, False)
    if model.decoder.encoding.matrix is not None:
        mask = eqx.tree_at(lambda m: m.decoder.encoding.matrix, mask, False)
    if model.decoder.consensus is not None:
        mask = eqx.tree_at(lambda m: m.decoder.consensus.values, mask, False)
    if isinstance(model.encoder, LiftEncoder | LiftedTiltEncoder):
        mask = eqx.tree_at(lambda m: m.encoder.scale, mask, False)
    return mask


class Start(NamedTuple):
    """Hold what a fit starts from, measured by `initial.measure_start`.

    **Fields:** `feature_scale`: 1 / standard deviation of lifted features. `latents`: first
    guess of the latents, `(n, d)`.
    """

    feature_scale: float = 1.0
    latents: Float[np.ndarray, "n d"] | None = None


def per_particle_tables(state: LatentState) -> Any:
    """Mark the tables with one row a particle."""
    mark = jax.tree.map(lambda _: False, state)
    for name in ("latents", "poses"):
        table = getattr(state, name)
        if table is not None:
            marked = jax.tree.map(lambda _: True, table)
            mark = eqx.tree_at(operator.attrgetter(name), mark, marked)
    return mark

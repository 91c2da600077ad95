"""A trained encoder with the volume it knows: poses for any images of the same particle."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vitreous.methods.abinitio.amortised.config import AmortisedConfig
from vitreous.methods.abinitio.amortised.encoders import Encoder
from vitreous.methods.abinitio.amortised.frame import Frame
from vitreous.methods.abinitio.amortised.hypotheses import Layout
from vitreous.methods.abinitio.amortised.orbit import ALONE, D4, pixel_orbit
from vitreous.methods.abinitio.amortised.reference import Reference
from vitreous.methods.abinitio.amortised.wake import Sight, propose
from vitreous.particles.loader import PreparedImages
from vitreous.particles.prepare import Batch
from vitreous.reconstruction.half_sets import half_sets
from vitreous.training.evaluate import map_images

_BATCH = 256


class PoseModel(eqx.Module):
    """Hold what turns images into poses.

    **Fields:** `reach`: range of shifts, pixels of the small box.
    """

    encoder: Encoder
    reference: Reference
    reach: Float[Array, ""]
    frame: Frame = eqx.field(static=True)
    config: AmortisedConfig = eqx.field(static=True)

    @property
    def hypotheses(self) -> int:
        """Number of poses that an image is given."""
        return self.config.heads * (8 if self.config.equivariant else 1)


class Predicted(NamedTuple):
    """Hold the likeliest poses of each image, best first.

    **Fields:** `rotation`: volume to image. `shift`: Å, where the particle lies. `score`: log
    likelihood ratio against noise alone. `z`: latents, or None.
    """

    rotation: Float[np.ndarray, "n m 3 3"]
    shift: Float[np.ndarray, "n m 2"]
    score: Float[np.ndarray, "n m"]
    z: Float[np.ndarray, "n d"] | None = None


def predict(
    state: PoseModel,
    data: PreparedImages,
    halves: Int[np.ndarray, " n"] | None = None,
    count: int | None = None,
) -> Predicted:
    """Ask the encoder for poses and order them by likelihood.

    **Arguments:** `halves`: half set of each image, whose volume judges it; by default those of
    the table, or images in turn. `count`: poses an image; by default as many as there are heads.
    """
    frame, config = state.frame, state.config
    count = count or config.heads
    if halves is None:
        halves = half_sets(len(data), data.table.half_set, data.table.particle)
    group = jnp.asarray(halves, jnp.int32)
    orbit = pixel_orbit(frame.pixels, D4 if config.equivariant else ALONE)
    layout = Layout(config.heads)

    def best(state: PoseModel, batch: Batch):
        batch = frame.crop(batch)
        sight = Sight(batch.pixels, frame.transfer(batch), group[batch.index], frame.stretch(batch))
        found = propose(state.encoder, sight, state.reference, orbit, layout, state.reach, frame)
        score, order = jax.lax.top_k(found.score, count)
        rows = jnp.arange(len(order))[:, None]
        length = (batch.pixel_size * frame.shrink)[:, None, None]
        return found.rotation[rows, order], found.shift[rows, order] * length, score

    return Predicted(*map_images(best, state, data, _BATCH))

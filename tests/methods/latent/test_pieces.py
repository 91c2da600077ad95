"""A batch worked on in pieces gives the gradient of the whole batch."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.geometry.rotations import random_rotations
from vitreous.methods.latent.config import LatentConfig
from vitreous.methods.latent.model import LatentMethod
from vitreous.particles.prepare import Batch
from vitreous.reconstruction.foundation import Foundation


@pytest.mark.parametrize("kind", ["vae", "autodecoder"])
def test_pieces_add_up(kind):
    box, b, key = 16, 6, jax.random.key(0)
    pixels = FourierPixels(box, 7)
    shells = np.ones(8, np.float32)
    volume = np.asarray(jax.random.normal(key, (box, box, box)))
    foundation = Foundation(volume, shells, shells, shells, 5.0)
    config = LatentConfig(
        kind=kind,
        zdim=2,
        encoder_width=8,
        decoder_width=8,
        encoder_layers=1,
        decoder_layers=1,
        refine_poses=True,
        pretrain_pose=0,
        encoder_band=4,
    )
    noise = jax.random.normal(key, (2, b, len(pixels)))
    batch = Batch(
        jax.lax.complex(noise[0], noise[1]),
        random_rotations(key, b),
        jnp.zeros((b, 2)),
        jnp.full(b, 3.0),
        None,
        jnp.arange(b, dtype=jnp.int32),
        jnp.array([1.0, 1, 1, 1, 1, 0]),
    )
    states = []
    for rows in (None, 2 * len(pixels)):
        method = LatentMethod(config, foundation, pixels, b, piece_rows=rows)
        step = eqx.filter_jit(method.step)
        state, scalars = step(method.init(key), batch, key, jnp.float32(0.5))
        states.append((state.model, state.latents, state.poses, scalars))
    assert method._pieces(b) > 1
    # Adam's first step is the sign of the gradient: gradients near zero may turn.
    for one, other in zip(*map(jax.tree.leaves, states), strict=True):
        if jnp.issubdtype(one.dtype, jnp.inexact):
            assert np.mean(np.abs(one - other) > 1e-4 * (1 + np.abs(one))) < 0.01

"""A small particle set and a linear method with one latent row a particle."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vitreous.imaging.ctf import CTFParameters
from vitreous.particles.table import ParticleTable


def toy_table(count, box=16):
    """Make a table whose every column differs from row to row."""
    n = np.arange(count)
    one = np.ones(count, np.float32)
    ctf = CTFParameters(
        (1e4 + n).astype(np.float32), 1e4 * one, 0 * one, 300 * one, 2.7 * one,
        0.1 * one, 0 * one, 0 * one, one,
    )  # fmt: skip
    return ParticleTable(
        stacks=("toy.mrcs",),
        stack_id=np.zeros(count, np.int32),
        image_index=n,
        box=np.full(count, box, np.int32),
        pixel_size=np.full(count, 2.0),
        rotation=np.broadcast_to(np.eye(3, dtype=np.float32), (count, 3, 3)).copy(),
        shift=np.stack([n, -n], 1).astype(np.float32),
        ctf=ctf,
        optics_group=np.zeros(count, np.int32),
        row=n + 100,
    )


class ToySource:
    def __init__(self, count, box=16, seed=3, offset=5.0, scale=2.0):
        generator = np.random.default_rng(seed)
        self.images = (offset + scale * generator.normal(size=(count, box, box))).astype(np.float32)
        self.box = box
        self.reads = []

    def __len__(self):
        return len(self.images)

    def read(self, index):
        self.reads.append(np.asarray(index))
        return self.images[np.asarray(index)]


class ToyState(NamedTuple):
    weights: jax.Array
    table: jax.Array
    moments: Any
    # Models hold functions among their arrays.
    activation: Any = jax.nn.tanh


class ToyMethod:
    """Fit pixels ≈ table[index] @ weights, with noise in the step so that keys matter."""

    def __init__(self, count, pixels, dimensions=3, rate=1e-2):
        self.count, self.pixels, self.dimensions = count, pixels, dimensions
        self.optimizer = optax.adam(rate)

    def init(self, key):
        first, second = jax.random.split(key)
        weights = 0.1 * jax.random.normal(first, (self.dimensions, 2 * self.pixels))
        table = 0.1 * jax.random.normal(second, (self.count, self.dimensions))
        return ToyState(weights, table, self.optimizer.init((weights, table)))

    def per_particle(self, state):
        return jax.tree.map(lambda x: getattr(x, "shape", ())[:1] == (self.count,), state)

    def step(self, state, batch, key, progress):
        target = jnp.concatenate([batch.pixels.real, batch.pixels.imag], axis=1)
        noise = 0.01 * jax.random.normal(key, target.shape)

        def loss(parameters):
            weights, table = parameters
            error = state.activation(table[batch.index]) @ weights - target - noise
            squares = batch.weight * jnp.mean(error**2, axis=1)
            return jnp.sum(squares) / jnp.maximum(jnp.sum(batch.weight), 1)

        parameters = (state.weights, state.table)
        value, gradient = jax.value_and_grad(loss)(parameters)
        # optax multiplies float32 by int32 counts, which the strict test session refuses.
        with jax.numpy_dtype_promotion("standard"):
            update, moments = self.optimizer.update(gradient, state.moments)
        weights, table = optax.apply_updates(parameters, update)
        return state._replace(weights=weights, table=table, moments=moments), {
            "loss": value,
            "progress": progress,
        }

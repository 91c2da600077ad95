"""Sleep: the volume dreams images with known poses, and the encoder learns from them."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from vitreous.geometry.rotations import random_rotations
from vitreous.geometry.shift import phase_shift
from vitreous.methods.abinitio.amortised.encoders import Encoder
from vitreous.methods.abinitio.amortised.frame import Frame, hermitian
from vitreous.methods.abinitio.amortised.hypotheses import Assignment, Layout, pose_loss
from vitreous.methods.abinitio.amortised.reference import Reference, whitened


def dream(
    reference: Reference,
    transfer: Float[Array, "n p"],
    count: int,
    reach: Float[Array, ""],
    frame: Frame,
    key: jax.Array,
) -> tuple[Complex[Array, "b p"], Float[Array, "b p"], Float[Array, "b 3 3"], Float[Array, "b 2"]]:
    """Simulate images of the volume at random poses, behind CTFs of real images, with noise.

    **Returns:** pixels, transfer, rotation and shift (pixels of the small box, up to `reach`).
    """
    k_rotation, k_shift, k_half, k_lens, k_noise = jax.random.split(key, 5)
    rotation = random_rotations(k_rotation, count)
    shift = jax.random.uniform(k_shift, (count, 2), minval=-1.0, maxval=1.0) * reach
    half = jax.random.bernoulli(k_half, shape=(count,)).astype(jnp.int32)
    lens = transfer[jax.random.randint(k_lens, (count,), 0, len(transfer))]
    views = reference.slices(frame, rotation[:, None], half, jnp.ones(count))[:, 0]
    frequency = jnp.asarray(frame.pixels.frequency) / frame.box
    views = views * phase_shift(frequency[None], shift) * lens.astype(views.dtype)
    real, imaginary = jax.random.normal(k_noise, (2, *views.shape))
    noise = hermitian(jax.lax.complex(real, imaginary), frame.pixels)
    power = jnp.sqrt(0.5 * reference.noise[frame.pixels.shell])
    return views + noise * power[None].astype(noise.dtype), lens, rotation, shift


def sleep(
    encoder: Encoder,
    optimizer: Any,
    update,
    reference: Reference,
    transfer: Float[Array, "n p"],
    reach: Float[Array, ""],
    group: Float[np.ndarray, "s 3 3"],
    layout: Layout,
    assignment: Assignment,
    frame: Frame,
    key: jax.Array,
    *,
    steps: int,
    batch: int,
) -> tuple[Encoder, Any, Float[Array, ""]]:
    """Train an encoder on dreams.

    **Arguments:** `optimizer`: its state. `update(encoder arrays, gradient, state)`: one step of
    it. `transfer`: of real images. `group`: symmetry of the volume.

    **Returns:** encoder, optimiser's state and the mean loss.
    """
    moving, fixed = eqx.partition(encoder, eqx.is_inexact_array)

    def loss(moving, pixels, lens, rotation, shift):
        whole = eqx.combine(moving, fixed)
        outputs = whole(whitened(pixels, lens, reference, frame))
        found = layout.hypotheses(outputs, reach)
        return jnp.mean(pose_loss(found, rotation, shift, group, assignment))

    def step(carried, key):
        moving, optimizer = carried
        seen = dream(reference, transfer, batch, reach, frame, key)
        value, gradient = jax.value_and_grad(loss)(moving, *seen)
        return update(moving, gradient, optimizer), value

    keys = jax.random.split(key, steps)
    (moving, optimizer), values = jax.lax.scan(step, (moving, optimizer), keys)
    return eqx.combine(moving, fixed), optimizer, jnp.mean(values)

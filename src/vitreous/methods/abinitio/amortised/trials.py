"""Several short tries at low resolution, each from its own random volume; the best one goes on.

Which local optimum wake and sleep end in is decided in the first cycles, on a few shells. A try
there costs a small part of the whole fit, and the likelihood tells a good one from a bad one.
"""

import logging
from dataclasses import replace
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from vitreous.methods.abinitio.amortised.config import AmortisedConfig
from vitreous.methods.abinitio.amortised.frame import Frame
from vitreous.methods.abinitio.amortised.reference import Reference
from vitreous.methods.abinitio.amortised.start import (
    first_reference,
    reference_of_poses,
    typical_density,
)
from vitreous.methods.abinitio.amortised.wake_sleep import WakeSleep, WakeSleepState
from vitreous.particles.prepare import Batch

logger = logging.getLogger(__name__)

_CYCLE, _WIDTH, _LAYERS, _FIRST_DREAMS = 500, 256, 2, 40_000
# Steps in one compiled block.
_BLOCK = 16


def best_start(
    sample: Batch,
    halves: Int[np.ndarray, " b"],
    white: float,
    frame: Frame,
    config: AmortisedConfig,
) -> tuple[Reference, list[dict]]:
    """Try several random volumes and make the first reference of the likeliest.

    **Arguments:** `sample`: images to try on, cropped to `frame`. `halves`: their half sets.
    `white`: power of the noise.

    **Returns:** the reference, and what each try came to.
    """
    small = Frame(frame.image_box, min(config.start_band + 1, frame.max_shell), frame.pixel_size)
    images = small.crop(sample)
    images = images._replace(index=jnp.arange(len(images.pixels), dtype=jnp.int32))
    method = WakeSleep(
        replace(
            config,
            encoder="spectral",
            encoder_width=min(config.encoder_width, _WIDTH),
            encoder_layers=min(config.encoder_layers, _LAYERS),
            cycle_images=_CYCLE,
            first_dreams=_FIRST_DREAMS,
            max_band=small.max_shell,
        ),
        small,
        halves,
        typical_density(images, small),
    )
    plan = _plan(len(images.pixels), config)
    tries, history = [], []
    run = jax.jit(partial(_block, method, total=np.float32(len(plan))), donate_argnums=0)
    for number in range(config.trials):
        seed = config.seed + 1000 * number
        reference = first_reference(images, white, small, replace(config, seed=seed))
        state = _replace_reference(method.init(jax.random.key(seed)), reference)
        for first in range(0, len(plan), _BLOCK):
            part = jnp.asarray(plan[first : first + _BLOCK])
            state, scores = run(state, images, part, jnp.int32(first), jax.random.key(seed))
        last = max(1, len(images.pixels) // config.batch_size)
        score = float(np.mean(np.asarray(scores)[-last:]))
        logger.info("try %d of %d: score %.2f", number + 1, config.trials, score)
        history.append({"try": number + 1, "score": score})
        tries.append((score, np.asarray(state.rotation), np.asarray(state.shift)))
    _, rotation, shift = max(tries, key=lambda entry: entry[0])
    return reference_of_poses(
        sample,
        jnp.asarray(rotation),
        jnp.asarray(shift * np.float32(small.shrink / frame.shrink)),
        halves,
        white,
        frame,
        config,
    ), history


def _plan(images: int, config: AmortisedConfig) -> Int[np.ndarray, "steps batch"]:
    """List the images of every step of a try: whole blocks, every image about as often."""
    size = min(config.batch_size, images)
    pretrain = -(-_FIRST_DREAMS // (config.sleep_steps * config.sleep_batch))
    steps = pretrain + -(-config.trial_images // size)
    steps = -(-steps // _BLOCK) * _BLOCK
    rng = np.random.default_rng([config.seed, 12])
    passes = -(-steps * size // images)
    order = np.concatenate([rng.permutation(images) for _ in range(passes)])
    return order[: steps * size].reshape(steps, size).astype(np.int32)


def _replace_reference(state: WakeSleepState, reference: Reference) -> WakeSleepState:
    return eqx.tree_at(lambda s: s.reference, state, reference)


def _block(method: WakeSleep, state, images: Batch, plan, first, key, *, total):
    """Take the steps of a block."""

    def step(state, given):
        rows, number = given
        batch = jax.tree.map(lambda column: column[rows], images)
        progress = number.astype(jnp.float32) / total
        state, scalars = method.step(state, batch, jax.random.fold_in(key, number), progress)
        return state, scalars["score"]

    numbers = first + jnp.arange(len(plan), dtype=jnp.int32)
    return jax.lax.scan(step, state, (plan, numbers))

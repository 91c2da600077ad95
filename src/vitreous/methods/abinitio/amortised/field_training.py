"""Train a neural field by gradients: all of CryoFIRE, or conformations of images with poses."""

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from vitreous.errors import InputError
from vitreous.methods.abinitio.amortised.config import AmortisedConfig, config_from_dict
from vitreous.methods.abinitio.amortised.gradient import (
    FieldModel,
    Gradient,
    GradientState,
    Known,
    Scales,
)
from vitreous.methods.abinitio.amortised.objective import band_error
from vitreous.particles.loader import PreparedImages
from vitreous.particles.prepare import Batch
from vitreous.reconstruction.foundation import transfer_of
from vitreous.training.checkpoint import fill_leaves
from vitreous.training.evaluate import map_images
from vitreous.training.fit import FitOptions, fit
from vitreous.training.networks.decoder import decode_volumes
from vitreous.training.run import Latents, Run

_BATCH = 128
# A field on known poses learns faster than poses do: rate and epochs of that phase.
_FIELD_RATE, _FIELD_PRESENTATIONS, _LEAST_EPOCHS = 1e-3, 60_000, 10


class FieldPoses(NamedTuple):
    """Hold what a trained field says of every image.

    **Fields:** `rotation`: volume to image. `shift`: Å. `score`: log likelihood ratio against
    noise alone. `latents`: or None. `volumes`: map at the mean latent, then half the difference
    between one standard deviation to either side along each latent axis.
    """

    rotation: Float[np.ndarray, "n 3 3"]
    shift: Float[np.ndarray, "n 2"]
    score: Float[np.ndarray, " n"]
    latents: Latents | None
    volumes: Float[np.ndarray, "k b b b"]


def after_poses(config: AmortisedConfig, images: int) -> AmortisedConfig:
    """Return the settings of the phase that follows once poses are found.

    Neither a phase without latents nor a narrow band is needed then, and fewer epochs.
    """
    count = max(_LEAST_EPOCHS, -(-_FIELD_PRESENTATIONS // images))
    return replace(
        config,
        scheme="gradient",
        lr=_FIELD_RATE,
        num_epochs=config.field_epochs or count,
        pose_only_phase=0.0,
        output_mask="circ",
        batch_size=min(config.batch_size, 32),
        pe_dim=max(config.pe_dim, 16),
        use_gt_poses=True,
        sym_loss=False,
    )


def measure_scales(data: PreparedImages, sample: Batch, radius: float) -> Scales:
    """Measure power of noise and amplitude of signal per shell, without any pose."""
    pixels = data.pixels
    lens = np.asarray(transfer_of(sample, pixels)) ** 2
    power = np.abs(np.asarray(sample.pixels)) ** 2

    def over_shells(values: np.ndarray) -> np.ndarray:
        count = np.bincount(pixels.shell, pixels.weight, pixels.max_shell + 1)
        total = np.bincount(pixels.shell, values.mean(axis=0) * pixels.weight, pixels.max_shell + 1)
        return total / np.maximum(count, 1e-12)

    total, passed = over_shells(power), over_shells(lens)
    noise = np.full(len(total), total[1:].min())
    signal = np.maximum(total - noise, 0) / np.maximum(passed, 1e-3)
    signal = np.maximum(signal, 1e-4 * signal.max() + 1e-12)
    signal[0] = signal[min(1, pixels.max_shell)]
    return Scales(np.sqrt(signal).astype(np.float32), noise.astype(np.float32), radius)


def train_field(
    data: PreparedImages,
    sample: Batch,
    config: AmortisedConfig,
    run: Run,
    known: Known | None,
    progress: Callable[[str], None] | None,
) -> FieldPoses:
    """Fit encoder and field, then ask about every image once more.

    **Arguments:** `sample`: some hundred images with all their pixels. `known`: poses to keep.
    """
    radius = config.particle_share * data.box / 2
    scales = measure_scales(data, sample, radius)
    run.update_config(
        field={
            "config": asdict(config),
            "amplitude": scales.amplitude.tolist(),
            "noise": scales.noise.tolist(),
            "radius": scales.radius,
            "max_shell": data.pixels.max_shell,
        }
    )
    method = Gradient(config, data.pixels, len(data), scales, known)
    epochs = config.epochs(len(data))
    options = FitOptions(
        epochs=epochs,
        batch_size=min(config.batch_size, len(data)),
        seed=config.seed,
        checkpoint_every=max(1, min(config.files.log_heavy_interval, epochs)),
        keep=2,
        quiet=progress is not None,
    )
    state = fit(method, data, run, options)
    return infer(method, state, data)


def encode(
    run: Run,
    data: PreparedImages,
    rotation: Float[np.ndarray, "n 3 3"] | None = None,
    shift: Float[np.ndarray, "n 2"] | None = None,
) -> FieldPoses:
    """Ask the networks of a run about images, those it was trained on or others.

    **Arguments:** `run`: trained by gradients, or the folder `conformations` of one by wake and
    sleep, whose images need poses: `rotation`, and `shift` in Å.

    **Raises:** `InputError` if the run holds no such networks, or other pixels.
    """
    if "field" not in run.config:
        raise InputError(f"{run.path}: holds no neural field")
    stored = run.config["field"]
    if int(stored["max_shell"]) != data.pixels.max_shell or run.box != data.box:
        raise InputError(f"{run.path}: was trained on images of {run.box} pixels")
    amplitude, noise = (np.asarray(stored[name], np.float32) for name in ("amplitude", "noise"))
    scales = Scales(amplitude, noise, float(stored["radius"]))
    known = None
    if rotation is not None and shift is not None:
        known = Known(jnp.asarray(rotation), jnp.asarray(shift))
    config = config_from_dict(stored["config"])
    method = Gradient(config, data.pixels, len(data), scales, known)
    arrays = run.checkpoints.load(run.checkpoints.at_epoch())
    state = fill_leaves(eqx.filter_eval_shape(method.init, jax.random.key(0)), arrays)
    return infer(method, state, data)


def infer(method: Gradient, state: GradientState, data: PreparedImages) -> FieldPoses:
    """Pose and encode all images with the final weights."""

    def ask(model: FieldModel, batch: Batch):
        guesses = method.guess(model, batch)
        count, several = guesses.rotation.shape[:2]
        z = guesses.mean
        predicted = method.predict_images(model, batch, guesses, z)
        observed = jnp.repeat(method.orbit.turn(batch.pixels), method.heads, axis=1)
        weight = jnp.asarray(method.pixels.weight / method.scales.noise[method.pixels.shell])
        p = len(method.pixels)
        flat = observed.reshape(-1, p)
        gain = band_error(flat, jnp.zeros_like(flat), weight)
        gain = gain - band_error(flat, predicted.reshape(-1, p), weight)
        gain = 0.5 * jnp.sum(weight) * gain.reshape(count, several)
        winner, rows = jnp.argmax(gain, axis=1), jnp.arange(count)
        shape = (count, len(method.orbit), method.heads)
        rotation, shift = method.orbit.turn_back(
            guesses.rotation.reshape(*shape, 3, 3), guesses.shift.reshape(*shape, 2)
        )
        rotation = rotation.reshape(count, several, 3, 3)[rows, winner]
        shift = shift.reshape(count, several, 2)[rows, winner] * batch.pixel_size[:, None]
        latent = None if z is None else z[rows, winner]
        spread = None if guesses.log_variance is None else guesses.log_variance[rows, winner]
        return rotation, shift, gain[rows, winner], latent, spread

    rotation, shift, score, mean, spread = map_images(ask, state.model, data, _BATCH)
    latents = None if mean is None else Latents(mean, spread)
    return FieldPoses(rotation, shift, score, latents, decode_axes(method, state.model, latents))


def decode_axes(
    method: Gradient, model: FieldModel, latents: Latents | None
) -> Float[np.ndarray, "k b b b"]:
    """Decode the mean map and, axis by axis, what one unit of the latent changes."""
    last = method.pixels.max_shell
    if latents is None:
        return np.asarray(decode_volumes(model.decoder, None, last, None, None))
    centre = latents.mean.mean(axis=0)
    step = np.diag(np.maximum(latents.mean.std(axis=0), 1e-6))
    asked = np.concatenate([centre[None], centre[None] + step, centre[None] - step])
    decode = jax.jit(lambda z: decode_volumes(model.decoder, z, last, None, None))
    volumes = np.asarray(decode(jnp.asarray(asked, jnp.float32)))
    axes = len(step)
    slopes = (volumes[1 : 1 + axes] - volumes[1 + axes :]) / (2 * np.diag(step))[
        :, None, None, None
    ]
    base = volumes[0] - np.tensordot(centre, slopes, axes=1)
    return np.concatenate([base[None], slopes]).astype(np.float32)

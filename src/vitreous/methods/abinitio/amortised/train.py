"""Train the amortised strategy on prepared images: from nothing to poses and a map."""

import logging
from collections.abc import Callable
from dataclasses import asdict, replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from vitreous.errors import InputError
from vitreous.files import atomic_path
from vitreous.geometry.resample import resample
from vitreous.methods.abinitio.amortised.config import AmortisedConfig, config_from_dict
from vitreous.methods.abinitio.amortised.encoders import Encoder
from vitreous.methods.abinitio.amortised.field_training import after_poses, train_field
from vitreous.methods.abinitio.amortised.frame import Frame
from vitreous.methods.abinitio.amortised.gradient import Known
from vitreous.methods.abinitio.amortised.model import PoseModel, Predicted, predict
from vitreous.methods.abinitio.amortised.reference import Reference
from vitreous.methods.abinitio.amortised.start import (
    first_reference,
    frame_of,
    sample_images,
    typical_density,
    white_level,
)
from vitreous.methods.abinitio.amortised.trials import best_start
from vitreous.methods.abinitio.amortised.wake_sleep import WakeSleep, WakeSleepState
from vitreous.methods.abinitio.found import Found
from vitreous.particles.loader import PreparedImages
from vitreous.particles.prepare import Batch
from vitreous.reconstruction.backprojection import Geometry, Slices
from vitreous.reconstruction.consensus import consensus_from_batches
from vitreous.reconstruction.finish import Consensus
from vitreous.reconstruction.fsc import crossing
from vitreous.reconstruction.half_sets import half_sets
from vitreous.training.checkpoint import fill_leaves
from vitreous.training.fit import FitOptions, fit
from vitreous.training.run import Run

logger = logging.getLogger(__name__)

# Rotations `(n, m, 3, 3)`, shifts `(n, m, 2)` in Å and scores before images go on by themselves.
ENCODER_POSES = "encoder_poses.npz"

# Images that a set is judged by before the first step, and that first volumes are tried on.
_SAMPLE, _TRIED = 512, 2000
_BATCH = 256
# Settings that say of which kind an encoder is.
_SHAPE = (
    "encoder", "encoder_width", "encoder_layers", "depth_cnn", "channels_cnn", "kernel_size_cnn",
    "heads",
)  # fmt: skip
# Poses that still move by more than this between visits have not been found, in degrees.
_RESTLESS = 20.0
# Half sets share their first shells: agreement up to there means nothing.
_TOO_COARSE = 4.0


def train_amortised(
    data: PreparedImages,
    config: AmortisedConfig,
    run: Run,
    progress: Callable[[str], None] | None = None,
    *,
    volume: Float[np.ndarray, "n n n"] | None = None,
    earlier: Run | None = None,
) -> Found:
    """Find poses and a map by an encoder; goes on from the run's last checkpoint if it has one.

    **Arguments:** `run`: keeps checkpoints, metrics and the settings. `progress`: told in a line
    what happens; by default a bar on the terminal. `volume`: a first map, of any box, in the
    units of prepared pixels. `earlier`: run whose encoder goes on learning, if it has one of the
    same kind.

    **Returns:** poses of all images from a last pass, maps of the whole band of the data.
    """
    run.update_config(amortised=asdict(config))
    if config.scheme == "gradient":
        return _by_gradient(data, config, run, progress)
    tell = progress or logger.info
    method, sample = _method(data, config)
    run.update_config(amortised_frame=list(method.frame))
    epochs = config.epochs(len(data))
    if run.checkpoints.latest() is None:
        method.first = _begin(data, method, sample, config, volume, tell)
        if earlier is not None:
            method.trained = _trained(earlier, method)
    tell(f"wake and sleep: shells {config.start_band}–{method.frame.max_shell}, {epochs} epochs")
    options = FitOptions(
        epochs=epochs,
        batch_size=min(config.batch_size, len(data)),
        seed=config.seed,
        checkpoint_every=max(1, epochs // 4),
        keep=2,
        log_every=4,
        quiet=progress is not None,
    )
    state = fit(method, data, run, options)
    model = pose_model(method, state)
    tell("posing all images with the trained encoder")
    halves = np.asarray(method.halves)
    poses = predict(model, data, halves)
    _keep_poses(run, poses)
    history = _course(run)
    found = _found(data, poses.rotation[:, 0], poses.shift[:, 0], poses.score[:, 0], history)
    if config.z_dim == 0:
        return found
    tell("learning conformations at the poses found")
    known = Known(jnp.asarray(found.rotation), jnp.asarray(found.shift))
    folder = run.path / "conformations"
    exists = (folder / "config.yaml").is_file()
    inner = Run.open(folder) if exists else Run.create(folder, dict(run.config))
    later = after_poses(config, len(data))
    field = train_field(data, _whole_sample(data, config), later, inner, known, progress)
    return replace(found, latents=field.latents, volumes=field.volumes)


def _keep_poses(run: Run, poses: Predicted) -> None:
    """Write `encoder_poses.npz`: what the encoder says of each image, best first."""
    with atomic_path(run.path / ENCODER_POSES) as temporary:
        np.savez(temporary, rotation=poses.rotation, shift=poses.shift, score=poses.score)


def _begin(
    data: PreparedImages,
    method: WakeSleep,
    sample: Batch,
    config: AmortisedConfig,
    volume: Float[np.ndarray, "n n n"] | None,
    tell: Callable[[str], None],
) -> Reference:
    """Make the first volume: given, the best of several tries, or random."""
    frame = method.frame
    white = white_level(data, _whole_sample(data, config), frame)
    if volume is not None:
        # The transform stays what it is: a mean would be kept instead.
        gain = (volume.shape[0] / frame.box) ** 3
        volume = np.asarray(resample(jnp.asarray(volume, jnp.float32), frame.box, 3)) * gain
        return first_reference(sample, white, frame, config, volume.astype(np.float32))
    if config.trials == 0:
        return first_reference(sample, white, frame, config)
    tell(f"trying {config.trials} random volumes at low resolution")
    halves = np.asarray(method.halves)[np.asarray(sample.index)]
    reference, tries = best_start(sample, halves, white, frame, config)
    scores = ", ".join(f"{entry['score']:.1f}" for entry in tries)
    tell(f"scores of the tries: {scores}; the best goes on")
    return reference


def _by_gradient(
    data: PreparedImages,
    config: AmortisedConfig,
    run: Run,
    progress: Callable[[str], None] | None,
) -> Found:
    known = None
    if config.use_gt_poses:
        if data.table.rotation is None:
            raise InputError(f"{data.table.path}: has no poses, which use_gt_poses asks for")
        known = Known(jnp.asarray(data.table.rotation), jnp.asarray(data.table.shift))
    field = train_field(data, _whole_sample(data, config), config, run, known, progress)
    given = known is not None
    found = _found(data, field.rotation, field.shift, field.score, _course(run), given=given)
    return replace(found, latents=field.latents, volumes=field.volumes)


def _whole_sample(data: PreparedImages, config: AmortisedConfig) -> Batch:
    frame = Frame(data.box, data.pixels.max_shell, 1.0)
    return sample_images(data, frame, _SAMPLE, config.seed)


def _method(data: PreparedImages, config: AmortisedConfig) -> tuple[WakeSleep, Batch]:
    frame = frame_of(data, config)
    sample = sample_images(data, frame, _TRIED, config.seed)
    halves = half_sets(len(data), data.table.half_set, data.table.particle)
    return WakeSleep(config, frame, halves, typical_density(sample, frame)), sample


def pose_model(method: WakeSleep, state: WakeSleepState) -> PoseModel:
    """Keep of a fit's state what poses images."""
    return PoseModel(state.encoder, state.reference, state.reach, method.frame, method.config)


def load_poser(run: Run, epoch: int | None = None) -> PoseModel:
    """Read the encoder and the volume of a run by wake and sleep: what `predict` takes.

    **Raises:** `InputError` if the run was made another way, or stopped before its first epoch.
    """
    if "amortised_frame" not in run.config:
        raise InputError(f"{run.path}: holds no encoder that poses images")
    config = config_from_dict(run.config["amortised"])
    frame = Frame(*run.config["amortised_frame"])
    method = WakeSleep(config, frame, np.zeros(1, np.int32), np.ones(frame.max_shell + 3))
    arrays = run.checkpoints.load(run.checkpoints.at_epoch(epoch))
    state = eqx.filter_eval_shape(method.init, jax.random.key(0))
    parts = (state.encoder, state.reference, state.reach)
    names = ("encoder.", "reference.", "reach")
    encoder, reference, reach = (
        fill_leaves(part, arrays, prefix=name) for part, name in zip(parts, names, strict=True)
    )
    return PoseModel(encoder, reference, reach, frame, config)


def _trained(run: Run, method: WakeSleep) -> Encoder | None:
    """Read the encoder of an earlier run, if it fits the one that would be trained."""
    try:
        poser = load_poser(run)
    except InputError as reason:
        logger.info("%s: a new encoder is trained", reason)
        return None
    config, other = method.config, poser.config
    differing = [name for name in _SHAPE if getattr(config, name) != getattr(other, name)]
    if differing or poser.frame.pixels != method.frame.pixels:
        logger.info(
            "%s: its encoder is of another kind (%s): a new one is trained",
            run.path,
            ", ".join(differing) or "band",
        )
        return None
    return poser.encoder


def _course(run: Run) -> list[dict]:
    """Return an entry an epoch; while the encoder only dreams there is nothing to say of images."""
    history = [{"phase": "encoder"} | entry for entry in run.metrics() if entry.get("epoch_mean")]
    for entry in history:
        if entry.get("score") == 0 == entry.get("moved"):
            del entry["score"], entry["moved"]
    return history


def map_of_poses(
    data: PreparedImages,
    rotation: Float[np.ndarray, "n 3 3"],
    shift: Float[np.ndarray, "n 2"],
    halves: Int[np.ndarray, " n"],
) -> Consensus:
    """Backproject all images at found poses (Å), in two half sets, with every shell they have."""
    turns, shifts, groups = jnp.asarray(rotation), jnp.asarray(shift), jnp.asarray(halves)

    @jax.jit
    def slices(batch: Batch) -> Slices:
        i = batch.index
        return Slices(
            batch.pixels,
            turns[i],
            shifts[i],
            batch.pixel_size,
            batch.ctf,
            groups[i],
            batch.weight,
            batch.dose,
        )

    size = float(np.median(np.asarray(data.table.pixel_size)))
    geometry = Geometry(data.box, data.pixels.max_shell, size)
    return consensus_from_batches(map(slices, data.in_order(_BATCH)), geometry)


def _found(
    data: PreparedImages,
    rotation: Float[np.ndarray, "n 3 3"],
    shift: Float[np.ndarray, "n 2"],
    score: Float[np.ndarray, " n"],
    history: list[dict],
    *,
    given: bool = False,
) -> Found:
    """Make the maps of found poses, and say whether to believe them.

    **Arguments:** `given`: poses were not searched. A history without `moved` does not tell
    whether poses rest.
    """
    halves = half_sets(len(data), data.table.half_set, data.table.particle)
    consensus = map_of_poses(data, rotation, shift, halves)
    fsc = np.asarray(consensus.fsc)
    reached = crossing(fsc, 0.143)
    shell = float(len(fsc) if reached is None else reached)
    moved = history[-1].get("moved") if history else None
    rests = given or (moved is not None and moved < _RESTLESS)
    if given:
        poses = "poses are those given"
    elif moved is None:
        poses = "whether poses rest is not known"
    else:
        poses = f"poses moved by {moved:.0f}° between the last visits"
    converged = shell > _TOO_COARSE and rests
    said = "converged" if converged else "did not converge"
    if not rests and moved is None:
        said = "may not have converged"
    verdict = f"{said}: half maps agree to shell {shell:.1f}, {poses}"
    return Found(
        rotation=rotation,
        shift=shift,
        volumes=np.asarray(consensus.volume)[None],
        half_maps=np.asarray(consensus.half_maps),
        fsc=fsc,
        latents=None,
        score=score,
        converged=converged,
        verdict=verdict,
        history=history,
    )

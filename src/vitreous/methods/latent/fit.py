"""Run a latent fit from a particle file to a run folder.

`train` is what `train-vae`, `train-dec` and `train-nn` call, and what anyone can call from Python.
"""

import logging
import os
from dataclasses import asdict, replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from vitreous.errors import InputError
from vitreous.files import atomic_path
from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.methods.latent.config import LatentConfig, config_from_dict
from vitreous.methods.latent.decode import decode_state
from vitreous.methods.latent.initial import measure_start
from vitreous.methods.latent.model import LatentMethod
from vitreous.methods.latent.state import LatentState
from vitreous.methods.latent.tilts import group_tilts, latents_of, settled_tilts, tilt_data
from vitreous.particles import (
    ImageSource,
    ParticleTable,
    save_latent_pickle,
    write_map,
)
from vitreous.particles.loader import PreparedImages
from vitreous.particles.prepare import Batch
from vitreous.particles.tilts import check_tilts, weigh_tilts
from vitreous.reconstruction.foundation import (
    Foundation,
    centred_pixels,
    lay_foundation,
    lay_on_white,
    transfer_of,
)
from vitreous.reconstruction.pose_correction import corrected_pose
from vitreous.training.evaluate import map_images
from vitreous.training.fit import FitOptions, fit
from vitreous.training.inputs import DataOptions, prepared_images, read_checked
from vitreous.training.pose_files import save_poses
from vitreous.training.run import Latents, Run

logger = logging.getLogger(__name__)

_ENCODE_BATCH = 128
# Rows of network activations that a CPU's cache holds: half again as fast as whole batches.
_CPU_PIECE = 3400
_FOUNDATION = "foundation.npz"


def train(
    particles: str | os.PathLike,
    outdir: str | os.PathLike,
    config: LatentConfig,
    data: DataOptions | None = None,
    options: FitOptions | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> Run:
    """Fit a latent model to particles with known poses.

    **Arguments:** `particles`: `.star`, `.cs`, `.txt`, `.mrcs`. `outdir`: the run folder.
    `config`: the method's settings. `options`: of the loop; its epochs, batch size and seed
    follow `config`. `resume`: go on with the run in `outdir`; `config.epochs` may be larger.

    **Returns:** the finished run.

    **Raises:** `InputError` for input that cannot be used, before the work starts.
    """
    data = data or DataOptions()
    options = replace(
        options or FitOptions(),
        epochs=config.epochs,
        batch_size=config.batch_size,
        seed=config.seed,
    )
    if resume:
        run = Run.open(outdir)
        config = _resumed_config(run, config)
    else:
        Run.check_vacant(outdir, overwrite)
    data = tilt_data(config, data)
    arguments = data.particle_arguments(particles)
    table = read_checked(arguments)
    owners = latents_of(config, table)
    if owners == "particles":
        check_tilts(table, config.tilts, config.dose_per_tilt)
    config = settled_tilts(config, table)
    source = ImageSource(table)
    if not resume:
        run = Run.create(
            outdir,
            {
                "method": "latent",
                "particles": arguments,
                "images": len(table),
                "latents_of": owners,
                "box": int(source.box),
                "pixel_size": float(np.median(table.pixel_size)),
                "data": asdict(replace(data, ind=None)),
                "latent": asdict(config),
            },
            overwrite=overwrite,
        )
        (run.path / _FOUNDATION).unlink(missing_ok=True)
    method, prepared = _prepare(run, table, source, config, data)

    def on_checkpoint(state: LatentState, epoch: int) -> None:
        save_results(run, method, state, prepared, epoch)

    fit(method, prepared, run, options, on_checkpoint)
    return run


def _resumed_config(run: Run, config: LatentConfig) -> LatentConfig:
    """Continue with the settings the run was started with; only the end may move."""
    run.check_method("latent")
    stored = config_from_dict(run.config["latent"])
    if stored.kind != config.kind:
        raise InputError(f"{run.path}: a run of kind {stored.kind}, not {config.kind}")
    resumed = replace(stored, epochs=max(config.epochs, 1))
    if resumed.epochs != stored.epochs:
        run.update_config(latent=asdict(resumed))
    return resumed


def _prepare(
    run: Run,
    table: ParticleTable,
    source: ImageSource,
    config: LatentConfig,
    data: DataOptions,
) -> tuple[LatentMethod, PreparedImages]:
    """Prepare images and lay the foundation, or read back the one of a resumed run."""
    table = weigh_tilts(table, config.dose_per_tilt, config.angle_per_tilt)
    box = source.box
    limit = (box - 1) // 2
    shell = min(config.max_shell or limit, limit)
    pixels = FourierPixels(box, shell)
    stored = run.config.get("normalization") or data.normalization

    def build(contrast: str) -> PreparedImages:
        return prepared_images(table, source, data, pixels, contrast, stored)

    def found(prepared: PreparedImages) -> Foundation:
        return lay_foundation(
            prepared,
            with_consensus=config.consensus,
            whiten=config.whiten,
            particle_diameter=config.particle_diameter,
        )

    contrast = run.config.get("contrast", data.contrast)
    foundation = read_foundation(run)
    if foundation is not None:
        prepared = build(contrast)
    else:
        prepared, foundation, contrast = lay_on_white(build, found, contrast)
        if not (config.consensus or config.whiten):
            # Nothing measured enters the model: the settings of the peer.
            foundation = foundation._replace(amplitude=np.ones_like(foundation.amplitude))
        normalization = [float(x) for x in prepared.normalization]
        run.update_config(normalization=normalization, contrast=contrast)
        write_foundation(run, foundation)
    one_cpu = [device.platform for device in prepared.devices] == ["cpu"]
    piece = _CPU_PIECE if one_cpu else None
    tilts = group_tilts(config, table)
    method = LatentMethod(config, foundation, pixels, len(table), piece_rows=piece, tilts=tilts)
    if run.checkpoints.latest() is None:
        method.start = measure_start(method, prepared)
    return method, prepared


def write_foundation(run: Run, foundation: Foundation) -> None:
    """Keep the foundation with the run: `foundation.npz`."""
    arrays = {k: v for k, v in foundation._asdict().items() if v is not None}
    with atomic_path(run.path / _FOUNDATION) as temporary:
        np.savez(temporary, **arrays)


def read_foundation(run: Run) -> Foundation | None:
    """Read the foundation of a run, None if it has none yet."""
    path = run.path / _FOUNDATION
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as stored:
        return Foundation(
            consensus=stored.get("consensus"),
            fsc=stored.get("fsc"),
            noise=stored["noise"],
            amplitude=stored["amplitude"],
            radius=float(stored["radius"]),
        )


def save_results(
    run: Run, method: LatentMethod, state: LatentState, prepared: PreparedImages, epoch: int
) -> None:
    """Save latents (`latents.N.npz`, `z.N.pkl`), refined poses and the homogeneous map."""
    config = method.config
    if config.kind == "vae":
        mean, log_variance = infer_latents(method, state, prepared)
        run.save_latents(Latents(mean, log_variance), epoch)
        save_latent_pickle(run.path / f"z.{epoch}.pkl", mean, log_variance)
    elif config.kind == "autodecoder":
        assert state.latents is not None
        mean = np.asarray(state.latents.values)[: method.particles]
        run.save_latents(Latents(mean, None), epoch)
        save_latent_pickle(run.path / f"z.{epoch}.pkl", mean)
    else:
        volume = decode_state(run, method, state.model, None)[0]
        write_map(run.path / f"reconstruct.{epoch}.mrc", volume, run.pixel_size)
    if state.poses is not None:
        save_poses(run, refined_table(method, state, prepared.table), f"pose.{epoch}.pkl")


def infer_latents(
    method: LatentMethod, state: LatentState, prepared: PreparedImages
) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "n d"]]:
    """Run the encoder over all particles, in the order of the table (of their numbers)."""

    def encode(state: LatentState, batch: Batch):
        correction = None if state.poses is None else state.poses.values[batch.index]
        pose = method.pose(batch, correction)
        centred = centred_pixels(batch, method.pixels, pose.shift)
        return method.encode(state.model, batch, pose, centred, transfer_of(batch, method.pixels))

    return map_images(encode, state, prepared, _ENCODE_BATCH, method.shown())


def refined_table(method: LatentMethod, state: LatentState, table: ParticleTable) -> ParticleTable:
    """Return the table with the corrected poses."""
    assert state.poses is not None
    assert table.rotation is not None
    correction = state.poses.values[: len(table)]
    pose = corrected_pose(jnp.asarray(table.rotation), jnp.asarray(table.shift), correction)
    return table.replace(rotation=np.asarray(pose.rotation), shift=np.asarray(pose.shift))

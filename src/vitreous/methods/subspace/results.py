"""Files of a finished subspace fit: latents first, then what decodes them."""

import numpy as np

from vitreous.files import atomic_path
from vitreous.methods.subspace.decode import STATE_FILE
from vitreous.methods.subspace.em import Fit
from vitreous.methods.subspace.ground import Ground
from vitreous.particles import save_latent_pickle
from vitreous.reconstruction.foundation import reconstruct_consensus
from vitreous.training.pose_files import save_poses
from vitreous.training.position import Position
from vitreous.training.run import Latents, Run

_BATCH = 256


def save_latents(run: Run, fit: Fit, count: int) -> None:
    """Save the first `count` coordinates of every particle and how sure they are."""
    seen, epoch = fit.seen, len(fit.history)
    mean = np.asarray(seen.mean)[:, :count]
    covariance = np.asarray(seen.covariance)[:, :count, :count]
    variance = np.diagonal(covariance, axis1=1, axis2=2)
    log_variance = np.log(np.maximum(variance, 1e-12)).astype(np.float32)
    run.save_latents(Latents(mean, log_variance), epoch)
    save_latent_pickle(run.path / f"z.{epoch}.pkl", mean, log_variance)
    with atomic_path(run.path / "posterior.npz") as temporary:
        np.savez(temporary, covariance=covariance, contrast=seen.contrast, evidence=seen.evidence)


def save_state(run: Run, fit: Fit, ground: Ground, count: int) -> None:
    """Save mean and components, and the consensus that holds the detail beyond their band."""
    support, epoch, images = fit.support, len(fit.history), len(fit.data)
    pixel_size = float(np.median(np.asarray(fit.data.table.pixel_size)))
    consensus = reconstruct_consensus(fit.data, pixel_size, _BATCH)
    box = fit.data.box
    state = {
        "volumes": fit.volumes[: count + 1],
        "halves": fit.halves[:, : count + 1],
        "consensus": np.asarray(consensus.volume) * ground.mask(box, box),
        "fsc": fit.fsc[: count + 1],
        "noise": fit.noise,
        "evidence": support.evidence,
        "correlation": support.correlation,
        "power": support.power,
        "history": np.asarray(fit.history),
    }
    with atomic_path(run.path / STATE_FILE) as temporary:
        np.savez(temporary, **state)  # type: ignore[arg-type]
    position = Position(epoch, 0, epoch, 0, 1, images)
    run.checkpoints.save({"volumes": state["volumes"], "consensus": state["consensus"]}, position)
    _save_refined(run, fit)


def _save_refined(run: Run, fit: Fit) -> None:
    table = fit.data.table
    rotation, shift = fit.data.poses()
    assert table.rotation is not None
    if np.array_equal(rotation, table.rotation.astype(np.float32)):
        return
    save_poses(run, table.replace(rotation=rotation, shift=shift))

"""Images that a run has never seen: what it says of them, and the files that keep it."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vitreous.errors import InputError
from vitreous.files import atomic_path
from vitreous.particles import ParticleTable
from vitreous.particles.peer_pickles import save_latent_pickle, save_pose_pickle
from vitreous.training.run import Latents, Run


@dataclass(frozen=True)
class Unseen:
    """Hold what a run says of new images.

    **Fields:** `table`: the new particles; with poses that the run found, if it finds any.
    `latents`: a row a particle, or None for a homogeneous run. `has_found_poses`: whether the
    poses are the run's.
    """

    table: ParticleTable
    latents: Latents | None
    has_found_poses: bool = False


def check_box(run: Run, box: int, particles: str | os.PathLike) -> None:
    """Make sure that new images have the box of a run.

    **Raises:** `InputError` if they do not.
    """
    if box != run.box:
        raise InputError(
            f"{particles}: images of {box} pixels, the run was made from {run.box}; sample them "
            f"like those: vitreous downsample -D {run.box}"
        )


def write_unseen(folder: Path, unseen: Unseen) -> list[Path]:
    """Write `latents.npz` and `z.pkl`; with found poses also `particles.star` and `pose.pkl`.

    **Returns:** the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    if unseen.latents is not None:
        mean, log_variance = unseen.latents
        arrays = {"mean": np.asarray(mean, np.float32)}
        if log_variance is not None:
            arrays["log_variance"] = np.asarray(log_variance, np.float32)
        with atomic_path(folder / "latents.npz") as temporary:
            np.savez(temporary, **arrays)  # type: ignore[arg-type]
        save_latent_pickle(folder / "z.pkl", mean, log_variance)
        written += [folder / "latents.npz", folder / "z.pkl"]
    if unseen.has_found_poses:
        table = unseen.table
        assert table.rotation is not None
        table.to_star(folder / "particles.star")
        side = table.box * table.pixel_size
        save_pose_pickle(folder / "pose.pkl", table.rotation, table.shift, side)
        written += [folder / "particles.star", folder / "pose.pkl"]
    return written

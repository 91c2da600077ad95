"""Which epoch of a run is meant, and its latents, checked."""

import numpy as np

from vitreous.analysis.pose_page import pose_summary
from vitreous.errors import InputError
from vitreous.training.run import Latents, Run


def find_epoch(run: Run, epoch: int | None) -> int:
    """Find the epoch meant: the last with a checkpoint for None or −1.

    **Raises:** `InputError` if it has no checkpoint.
    """
    epochs = run.epochs()
    if not epochs:
        raise InputError(f"{run.path}: no epoch is complete yet; nothing to analyze")
    if epoch is None or epoch == -1:
        return epochs[-1]
    if epoch not in epochs:
        has = ", ".join(map(str, epochs))
        raise InputError(f"{run.path}: no checkpoint of epoch {epoch} (epochs with one: {has})")
    return epoch


def checked_latents(run: Run, epoch: int) -> Latents:
    """Read the latents of an epoch.

    **Raises:** `InputError` if the run has none, or they hold NaN.
    """
    if run.config.get("zdim") == 0 and pose_summary(run) is not None:
        raise InputError(
            f"{run.path}: one map and no latent to analyze; its poses and map are in report.html"
        )
    latents = run.latents(epoch)
    if latents.mean.shape[1] == 0:
        raise InputError(f"{run.path}: a homogeneous fit has no latent to analyze; see eval-vol")
    bad = np.flatnonzero(~np.isfinite(latents.mean).all(axis=1))
    if bad.size:
        raise InputError(
            f"{run.path}: the latents of epoch {epoch} hold NaN (first in row {bad[0]}, "
            f"{bad.size} rows in all); analyze an earlier epoch"
        )
    return latents

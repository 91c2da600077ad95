"""Score a run against the truth of its simulation: volumes and latent."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int64

from vitreous.errors import InputError
from vitreous.metrics.truth import Truth, score_latent
from vitreous.metrics.volume_fsc import every_nth, per_image_auc
from vitreous.particles.relion_tomo import is_tomo_table
from vitreous.particles.star import StarFile
from vitreous.particles.table import ParticleTable


def match_truth(truth: Truth, count: int, table: ParticleTable | None) -> Truth:
    """Give the truth of each latent, also where the run used a selection of the images.

    The truth of a tilt series may be one of its images or one of its particles.

    **Arguments:** `table`: one row a latent.

    **Raises:** `InputError` if the truth is of another set.
    """
    columns = (truth.labels, truth.coordinate, truth.rotation, truth.shift)
    size = next(len(c) for c in columns if c is not None)
    if table is not None and size != count:
        rows = _rows_of_truth(table, size)
        if rows.max() < size:
            return truth.select(rows)
    if size != count:
        raise InputError(f"the truth is of {size} images, the run of {count}: not the same set")
    return truth


def _rows_of_truth(table: ParticleTable, size: int) -> Int64[np.ndarray, " n"]:
    """Number the latents as the truth does: by image, or by particle of a tilt series."""
    if table.particle is None:
        return table.row
    images = None
    if isinstance(table.source, StarFile) and not is_tomo_table(table.source):
        images = len(table.source.main)
    is_of_images = table.row.max() < size if images is None else images == size
    return table.row if is_of_images else table.particle


def check_truth_volumes(truth: Truth, box: int, pixel_size: float) -> None:
    """Refuse true volumes of another box or pixel size, before any decoding.

    **Raises:** `InputError`.
    """
    if truth.volumes is None:
        return
    if truth.volumes.shape[1] != box:
        raise InputError(
            f"the truth's volumes have a box of {truth.volumes.shape[1]}, the run's {box}; "
            "downsample the truth to match"
        )
    if truth.pixel_size is not None and abs(truth.pixel_size / pixel_size - 1) > 0.01:
        raise InputError(
            f"the truth's volumes have {truth.pixel_size:.4g} Å/px, the run's {pixel_size:.4g}"
        )


def score_run(
    z: Float[np.ndarray, "n d"],
    decode: Callable[[np.ndarray], np.ndarray] | None,
    truth: Truth,
    images: int = 20,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, float]:
    """Make the table of scores: volumes first, then the latent.

    **Arguments:** `decode`: None leaves the volumes out. `images`: about how many images the
    per-image FSC is averaged over, at CryoBench's stride.
    """
    scores: dict[str, float] = {}
    if decode is not None and truth.volumes is not None and truth.labels is not None:
        chosen = every_nth(len(z), images)
        auc = per_image_auc(
            decode, z, truth.volumes, truth.labels, chosen, batch=8, progress=progress
        )
        box = truth.volumes.shape[1]
        scores["per-image AUC-FSC, mean"] = float(auc.mean())
        scores["per-image AUC-FSC, standard deviation"] = float(auc.std())
        scores["per-image AUC-FSC, best possible"] = (box // 2 - 1) / box
    scores |= score_latent(z, truth)
    return scores

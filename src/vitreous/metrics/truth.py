"""The truth of a simulated set (`truth.npz`), and the table of scores a latent earns against it.

Fields, all optional but one: `labels` (state of each image), `t` (a continuous coordinate, one
value per image or per state), `period` (the value of `t` that is a full turn; left out, a `t`
within [0, 1) counts as turns), `vols` (one volume per state), `apix` (Å/px of `vols`),
`R` and `shift` (pose of each image).
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from vitreous.errors import InputError
from vitreous.metrics.association import (
    circular_rank_correlation,
    graph_coordinates,
    plane_angle,
    spearman,
)
from vitreous.metrics.neighbours import neighbour_r2, state_accuracy

FIELDS = ("labels", "t", "period", "vols", "apix", "R", "shift")


@dataclass(frozen=True)
class Truth:
    """What is known of each image. `period` is None when the coordinate lies on a line."""

    labels: Int[np.ndarray, " n"] | None = None
    coordinate: Float[np.ndarray, " n"] | None = None
    period: float | None = None
    volumes: Float[np.ndarray, "states m m m"] | None = None
    pixel_size: float | None = None
    rotation: Float[np.ndarray, "n 3 3"] | None = None
    shift: Float[np.ndarray, "n 2"] | None = None

    def select(self, rows: Int[np.ndarray, " k"]) -> "Truth":
        """Keep the images listed in `rows`, in that order."""

        def take(column: np.ndarray | None) -> np.ndarray | None:
            return None if column is None else column[rows]

        return Truth(
            take(self.labels),
            take(self.coordinate),
            self.period,
            self.volumes,
            self.pixel_size,
            take(self.rotation),
            take(self.shift),
        )


def read_truth(path: str | Path) -> Truth:
    """Read `truth.npz`.

    **Raises:** `InputError` if the file is not such a file or its columns disagree in length.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; give the truth.npz of the simulation")
    try:
        with np.load(path, allow_pickle=False) as archive:
            fields = {name: archive[name] for name in archive.files if name in FIELDS}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not a .npz of plain arrays ({error})") from error
    labels = fields.get("labels")
    if labels is not None:
        labels = np.asarray(labels, dtype=np.int64).ravel()
    t = fields.get("t")
    per_image = [n for n in ("labels", "R", "shift") if n in fields]
    if t is None and not per_image:
        raise InputError(f"{path}: holds none of labels, t, R, shift; nothing to compare with")
    if t is not None:
        t = np.asarray(t, dtype=np.float64).ravel()
        if labels is not None and len(t) != len(labels):
            if labels.max() >= len(t):
                raise InputError(
                    f"{path}: t has {len(t)} values, labels go up to {labels.max()}; "
                    "give t for each image or each state"
                )
            t = t[labels]
    lengths = {name: len(fields[name]) for name in per_image}
    if t is not None:
        lengths["t"] = len(t)
    if len(set(lengths.values())) > 1:
        raise InputError(f"{path}: columns of different lengths {lengths}")
    volumes = fields.get("vols")
    if volumes is not None and labels is not None and labels.max() >= len(volumes):
        raise InputError(f"{path}: {len(volumes)} vols, but labels go up to {labels.max()}")
    period = float(fields["period"]) if "period" in fields else None
    if period is None and t is not None and t.min() >= 0 and t.max() < 1:
        period = 1.0
    if period is not None and not (np.isfinite(period) and period > 0):
        period = None
    return Truth(
        labels,
        t,
        period,
        None if volumes is None else volumes.astype(np.float32),
        float(fields["apix"]) if "apix" in fields else None,
        fields.get("R"),
        fields.get("shift"),
    )


def score_latent(latent: Float[np.ndarray, "n d"], truth: Truth, k: int = 15) -> dict[str, float]:
    """Score a latent space against the truth, without fitting anything to the truth.

    **Returns:** a table in reading order; only rows the truth allows:

    * `state accuracy`: see `neighbours.state_accuracy`;
    * `neighbour R²`: see `neighbours.neighbour_r2` (of cosine and sine on a circle);
    * on a line `|Spearman|` of the first component and of the first graph harmonic; on a circle
      the absolute circular rank correlation of the angle in the plane of the first two.
    """
    table: dict[str, float] = {}
    latent = latent.astype(np.float64)
    k = min(k, len(latent) - 1)
    if truth.labels is not None and len(np.unique(truth.labels)) > 1:
        table[f"state accuracy ({k} neighbours)"] = state_accuracy(latent, truth.labels, k)
    t = truth.coordinate
    if t is None or np.ptp(t) == 0:
        return table
    harmonics = graph_coordinates(latent) if len(latent) > 4 else None
    if truth.period is None:
        table[f"neighbour R² ({k} neighbours)"] = neighbour_r2(latent, t[:, None], k)
        centred = latent - latent.mean(axis=0)
        first = centred @ np.linalg.svd(centred.T @ centred)[0][:, 0]
        table["|Spearman|, first component"] = abs(spearman(first, t))
        if harmonics is not None:
            table["|Spearman|, along the graph"] = abs(spearman(harmonics[:, 0], t))
        return table
    angle = 360 * t / truth.period
    radians = np.deg2rad(angle)
    circle = np.stack([np.cos(radians), np.sin(radians)], axis=1)
    table[f"neighbour R² ({k} neighbours)"] = neighbour_r2(latent, circle, k)
    if latent.shape[1] > 1:
        table["circular correlation, first plane"] = abs(
            circular_rank_correlation(plane_angle(latent), angle)
        )
    if harmonics is not None:
        loop = np.rad2deg(np.arctan2(harmonics[:, 1], harmonics[:, 0]))
        table["circular correlation, along the graph"] = abs(circular_rank_correlation(loop, angle))
    return table

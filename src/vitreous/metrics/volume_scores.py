"""Tables of FSC scores of decoded volumes: per image and per conformation, as CryoBench or better.

`exact=True` repeats CryoBench: shells `i − 1 <= r < i`, `|FSC|`, area in cycles/pixel (0.484 is
perfect for a box of 64), resolution at the first shell below the threshold. `exact=False` is the
house form: rounded shells as everywhere else, the sign kept, an area of 1 is perfect, resolution
interpolated.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from vitreous.metrics.volume_fsc import every_nth
from vitreous.reconstruction.fsc import fourier_shell_correlation, resolution

Decode = Callable[[np.ndarray], np.ndarray]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class VolumeScores:
    """Hold one score a decoded volume.

    `row`: the image at whose latent it was decoded; `state`: the true volume it was compared
    with. `area` under the FSC; `resolution_half`, `resolution_gold`: Å where it falls below 0.5
    and 0.143. `best`: the area of a perfect volume.
    """

    row: Int[np.ndarray, " m"]
    state: Int[np.ndarray, " m"]
    area: Float[np.ndarray, " m"]
    resolution_half: Float[np.ndarray, " m"]
    resolution_gold: Float[np.ndarray, " m"]
    best: float

    def summary(self) -> dict[str, float]:
        """Return mean, deviation and median of the areas, and the median resolutions."""
        return {
            "mean": float(self.area.mean()),
            "standard deviation": float(self.area.std()),
            "median": float(np.median(self.area)),
            "best possible": self.best,
            "resolution at 0.5, median (Å)": float(np.median(self.resolution_half)),
            "resolution at 0.143, median (Å)": float(np.median(self.resolution_gold)),
        }

    def by_state(self) -> dict[int, float]:
        """Return the mean area of each state."""
        return {
            int(k): float(self.area[self.state == k].mean()) for k in np.unique(self.state).tolist()
        }


def score_per_image(
    decode: Decode,
    latent: Float[np.ndarray, "images d"],
    volumes: Float[np.ndarray, "states n n n"],
    labels: Int[np.ndarray, " images"],
    voxel_size: float,
    count: int = 100,
    mask: Float[np.ndarray, "n n n"] | None = None,
    exact: bool = True,
    progress: Progress | None = None,
) -> VolumeScores:
    """Score volumes decoded at the latents of about `count` images against their true volumes.

    **Arguments:** `labels`: the true state of each image, a row of `volumes`. `mask`: multiplied
    on both volumes.

    **Source:** Jeon et al. (2024) CryoBench, per-image FSC: images `0, s, 2s, …`, `s = N // n`.
    """
    rows = every_nth(len(latent), count)
    return _scored(
        decode, latent[rows], rows, labels[rows], volumes, voxel_size, mask, exact, progress
    )


def score_per_conformation(
    decode: Decode,
    latent: Float[np.ndarray, "images d"],
    volumes: Float[np.ndarray, "states n n n"],
    labels: Int[np.ndarray, " images"],
    voxel_size: float,
    mask: Float[np.ndarray, "n n n"] | None = None,
    exact: bool = True,
    progress: Progress | None = None,
) -> VolumeScores:
    """Score one volume a state: decoded at the latent nearest to the mean of the state's images.

    **Source:** CryoBench, per-conformation FSC: any image's latent may be the nearest.
    """
    states = np.unique(labels)
    means = np.stack([latent[labels == k].mean(axis=0) for k in states])
    rows = np.array([np.argmin(np.sum((latent - m) ** 2, axis=1)) for m in means], np.int64)
    return _scored(decode, latent[rows], rows, states, volumes, voxel_size, mask, exact, progress)


def fsc_score(
    volume: Float[np.ndarray, "n n n"],
    truth: Float[np.ndarray, "n n n"],
    voxel_size: float,
    exact: bool = True,
) -> tuple[float, float, float]:
    """Return the area under the FSC of two volumes, and the resolutions (Å) at 0.5 and 0.143."""
    rule = "cryobench" if exact else "rounded"
    curve = np.asarray(fourier_shell_correlation(volume, truth, rule), np.float64)
    n = len(volume)
    if not exact:
        # The first shell is 1 by definition.
        area = float(np.trapezoid(curve[1:]) / (len(curve) - 2))
        half, gold = (resolution(curve, voxel_size, t, n) for t in (0.5, 0.143))
        return area, half, gold
    area = float(np.trapezoid(np.abs(curve), dx=1 / n))
    found = []
    for threshold in (0.5, 0.143):
        below = np.flatnonzero(curve < threshold)
        found.append(voxel_size * (n / below[0] if below.size else 2.0))
    return area, found[0], found[1]


def _scored(
    decode: Decode,
    latent: np.ndarray,
    rows: np.ndarray,
    states: np.ndarray,
    volumes: np.ndarray,
    voxel_size: float,
    mask: np.ndarray | None,
    exact: bool,
    progress: Progress | None,
    batch: int = 8,
) -> VolumeScores:
    scores = []
    for start in range(0, len(rows), batch):
        for volume, state in zip(
            np.asarray(decode(latent[start : start + batch]), np.float32),
            states[start : start + batch],
            strict=True,
        ):
            truth = np.asarray(volumes[state], np.float32)
            if mask is not None:
                volume, truth = volume * mask, truth * mask
            scores.append(fsc_score(volume, truth, voxel_size, exact))
        if progress is not None:
            progress(len(scores), len(rows))
    area, half, gold = np.array(scores, np.float64).T
    n = volumes.shape[1]
    best = (n // 2 - 1) / n if exact else 1.0
    return VolumeScores(rows.astype(np.int64), np.asarray(states, np.int64), area, half, gold, best)

"""What a search finds in a micrograph: maps, statistics and peaks."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int


@dataclass(frozen=True, eq=False)
class Match:
    """Hold what a search found.

    Fields, maps of the micrograph's shape: `snr`: the largest correlation; `view`: number of the
    view that gave it; `mean`, `deviation`: over all views; `z`: `(snr − mean) / deviation`. And:
    `angles` `(m, 3)` and `offsets` (Å of defocus): `view` is `orientation · len(offsets) +
    offset`. `samples`: correlations in all. `threshold`: of scores; `expected_maximum`: of noise.
    `histogram`: a sample of all correlations, see `search.HISTOGRAM_START`. `peaks`: `(row,
    column)`, the best first; `places`: the same between pixels. `uses_z`: which map they are in.
    `z_keeps`: the share of its score that a particle at the threshold keeps in `z`.
    """

    snr: Float32[np.ndarray, "h w"]
    view: Int[np.ndarray, "h w"]
    mean: Float32[np.ndarray, "h w"]
    deviation: Float32[np.ndarray, "h w"]
    z: Float32[np.ndarray, "h w"]
    angles: Float[np.ndarray, "m 3"]
    offsets: Float[np.ndarray, " d"]
    samples: float
    threshold: float
    expected_maximum: float
    histogram: Float[np.ndarray, " bins"]
    peaks: Int[np.ndarray, "p 2"]
    places: Float[np.ndarray, "p 2"]
    uses_z: bool
    z_keeps: float

    @property
    def score(self) -> Float32[np.ndarray, "h w"]:
        """The map in which peaks were found."""
        return self.z if self.uses_z else self.snr

    def best_angles(self) -> Float32[np.ndarray, "3 h w"]:
        """Return rot, tilt and psi of each pixel's best view, degrees."""
        return np.moveaxis(self.angles.astype(np.float32)[self.view // len(self.offsets)], -1, 0)

    def best_offset(self) -> Float32[np.ndarray, "h w"]:
        """Return what each pixel's best view adds to the defocus, Å."""
        return self.offsets.astype(np.float32)[self.view % len(self.offsets)]

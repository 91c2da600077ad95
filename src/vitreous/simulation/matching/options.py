"""What a template search tries, and what it takes for a find."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from vitreous.errors import InputError
from vitreous.imaging.ctf import Contrast

Score = Literal["auto", "snr", "z"]


@dataclass(frozen=True)
class MatchOptions:
    """Say what to search.

    **Arguments:** `step`, `in_plane_step`: degrees between orientations. `symmetry`: point group
    of the template. `defocus_range`, `defocus_step`: Å, tried on both sides of the micrograph's
    own. `finest`, `coarsest`: resolutions in Å that bound the frequencies used. `contrast`: sign
    of the particles in the micrograph. `score`: what peaks are found in: the largest correlation
    (`"snr"`), the same less the pixel's mean over its deviation (`"z"`), or `"auto"`: z if that
    costs a particle little of its score. `false_positives`: how
    many the threshold lets through if all views were independent. `distance`: Å between peaks,
    None for half the template's box. `batch`: orientations at a time, None to fit memory.
    """

    step: float = 5.0
    in_plane_step: float | None = None
    symmetry: str = "C1"
    defocus_range: float = 0.0
    defocus_step: float = 200.0
    finest: float | None = None
    coarsest: float | None = None
    contrast: Contrast = "dark"
    score: Score = "auto"
    false_positives: float = 1.0
    distance: float | None = None
    batch: int | None = None

    def check(self, pixel_size: float) -> None:
        """Refuse what cannot be searched. **Raises:** `InputError`."""
        if self.defocus_range < 0 or not self.defocus_step > 0:
            raise InputError("--defocus-range is 0 or more and --defocus-step positive, in Å")
        if not self.false_positives > 0:
            raise InputError(f"--false-positives {self.false_positives:g}: must be positive")
        if self.finest is not None and self.finest < 2 * pixel_size:
            raise InputError(
                f"--finest {self.finest:g}: pixels of {pixel_size:g} Å hold detail down to "
                f"{2 * pixel_size:g} Å only"
            )
        if self.coarsest is not None and self.coarsest <= (self.finest or 2 * pixel_size):
            raise InputError(f"--coarsest {self.coarsest:g}: leaves no frequencies to compare")
        if self.distance is not None and not self.distance >= 0:
            raise InputError(f"--min-distance {self.distance:g}: cannot be negative")
        if self.batch is not None and self.batch < 1:
            raise InputError(f"-b {self.batch}: one orientation at a time is the least")

    def defocus_offsets(self) -> Float[np.ndarray, " d"]:
        """List what is added to the defocus, Å."""
        count = int(np.floor(self.defocus_range / self.defocus_step + 1e-9))
        return np.arange(-count, count + 1) * self.defocus_step

    def band(self, pixel_size: float) -> tuple[float | None, float | None]:
        """Return the finest and the coarsest period used, in pixels."""
        finest, coarsest = (
            None if limit is None else limit / pixel_size for limit in (self.finest, self.coarsest)
        )
        return finest, coarsest

"""The microscope settings of a simulated session, and the CTF they give each particle."""

from dataclasses import dataclass

import numpy as np

from vitreous.errors import InputError
from vitreous.imaging.ctf import CTFParameters


@dataclass(frozen=True)
class Optics:
    """Say how the microscope is set.

    **Arguments:** `voltage` in kV. `spherical_aberration` in mm. `amplitude_contrast` in 0..1.
    `phase_shift` in degrees. `bfactor` in Å², the envelope `exp(−B k²/4)`. `defocus`: lowest and
    highest mean defocus in Å, underfocus positive; `astigmatism`: largest `|U − V|` in Å.
    """

    voltage: float = 300.0
    spherical_aberration: float = 2.7
    amplitude_contrast: float = 0.1
    phase_shift: float = 0.0
    bfactor: float = 0.0
    defocus: tuple[float, float] = (8000.0, 22000.0)
    astigmatism: float = 400.0

    def check(self) -> None:
        """Refuse settings no microscope has. **Raises:** `InputError`."""
        low, high = self.defocus
        if not low <= high:
            raise InputError(f"--defocus {low} {high}: give the lower value first")
        if not 10 <= self.voltage <= 2000:
            raise InputError(f"--kv {self.voltage}: a voltage in kV lies between 10 and 2000")
        if not 0 <= self.amplitude_contrast <= 1:
            raise InputError(f"-w {self.amplitude_contrast}: amplitude contrast lies in 0 to 1")
        if self.spherical_aberration < 0 or self.astigmatism < 0:
            raise InputError("--cs and --astigmatism cannot be negative")

    def draw(self, rng: np.random.Generator, count: int) -> CTFParameters:
        """Draw each particle's defocus, astigmatism and its axis evenly from their ranges."""
        mean = rng.uniform(*self.defocus, count)
        difference = rng.uniform(0, self.astigmatism, count)
        angle = rng.uniform(-90, 90, count)
        shared = (
            self.voltage,
            self.spherical_aberration,
            self.amplitude_contrast,
            self.phase_shift,
            self.bfactor,
            1.0,
        )
        return CTFParameters(
            (mean + difference / 2).astype(np.float32),
            (mean - difference / 2).astype(np.float32),
            angle.astype(np.float32),
            *(np.full(count, value, np.float32) for value in shared),
        )

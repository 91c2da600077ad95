"""What simulated micrographs are like."""

from dataclasses import dataclass, field

import numpy as np

from vitreous.errors import InputError
from vitreous.simulation.counting import Counting
from vitreous.simulation.optics import Optics


@dataclass(frozen=True)
class MicrographOptions:
    """Say what simulated micrographs are like.

    **Arguments:** `size`: `(width, height)` in pixels. `particles`: in each micrograph. `count`:
    micrographs. `min_distance`: Å between centres; 0 lets particles overlap. `border`: Å from the
    edge to the nearest centre, None for half the box. `ice`: thickness in Å. `depth`: Å of height
    over which particles lie, which adds to their defocus; None for the thickness of the ice.
    `dose`: electrons/Å², or None. `counting`: of electrons. `snr`: without a dose, the ratio of
    variances in the particles' boxes; None for no noise. `optics`: None for no CTF. `seed`.
    """

    size: tuple[int, int] = (1024, 1024)
    particles: int = 50
    count: int = 1
    min_distance: float = 0.0
    border: float | None = None
    ice: float = 300.0
    depth: float | None = None
    dose: float | None = 40.0
    counting: Counting = "poisson"
    snr: float | None = None
    optics: Optics | None = field(default_factory=Optics)
    seed: int = 0

    def check(self) -> None:
        """Refuse what cannot be simulated. **Raises:** `InputError`."""
        if min(self.size) < 16:
            raise InputError(f"--size {self.size[0]} {self.size[1]}: 16 pixels a side is the least")
        if self.particles < 0 or self.count < 1:
            raise InputError("-n is 0 particles or more, --micrographs 1 or more")
        for name, value in (
            ("--min-distance", self.min_distance),
            ("--border", self.border),
            ("--ice", self.ice),
            ("--depth", self.depth),
        ):
            if value is not None and not 0 <= value < np.inf:
                raise InputError(f"{name} {value:g}: Å cannot be negative")
        if self.dose is not None and not 0 < self.dose < np.inf:
            raise InputError(f"--dose {self.dose:g}: electrons/Å² must be positive")
        if self.dose is not None and self.snr is not None:
            raise InputError("--dose says how noisy micrographs are; leave out --snr")
        if self.snr is not None and not self.snr > 0:
            raise InputError(f"--snr {self.snr:g}: must be positive")
        if self.dose is not None and self.optics is None:
            raise InputError("--dose counts electrons behind a lens: leave out --no-ctf")
        if self.snr is not None and self.particles == 0:
            raise InputError("--snr: without particles there is no signal; give --dose")
        if self.optics is not None:
            self.optics.check()

"""Which particles a simulated set holds: states, poses, shifts, CTFs, half sets, drawn by seed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from vitreous.errors import InputError
from vitreous.geometry.rotations import quaternion_to_matrix
from vitreous.imaging.ctf import Contrast, CTFParameters
from vitreous.imaging.noise import SNRDefinition
from vitreous.particles import ParticleTable
from vitreous.simulation.counting import Counting
from vitreous.simulation.layout import Part
from vitreous.simulation.optics import Optics
from vitreous.simulation.specimen import Specimen


@dataclass(frozen=True)
class ParticleOptions:
    """Say what a simulated set is like.

    **Arguments:** `count`: images. `snr`: ratio of the variances of signal and noise, None for no
    noise; `snr_definition`: over which pixels, see `noise_deviation`; `mask_radius` in Å for
    `"mask"`. `dose`: electrons/Å² that are counted, in place of `snr`; `counting`: one by one, or
    by their Gaussian approximation. `ice`: Å of it, not counted as signal. `max_shift` in Å:
    centres lie evenly in a square of twice this side. `optics`: None for images without a CTF.
    `contrast`: sign of the particles. `seed`. `batch`: images computed at a time.
    """

    count: int = 2000
    snr: float | None = 0.1
    snr_definition: SNRDefinition = "box"
    mask_radius: float | None = None
    dose: float | None = None
    counting: Counting = "poisson"
    ice: float = 0.0
    max_shift: float = 0.0
    optics: Optics | None = field(default_factory=Optics)
    contrast: Contrast = "white"
    seed: int = 0
    batch: int = 64

    def check(self, specimen: Specimen) -> None:
        """Refuse what cannot be simulated. **Raises:** `InputError`."""
        half = specimen.box * specimen.pixel_size / 2
        if self.count < 1:
            raise InputError(f"-n {self.count}: simulate one particle at least")
        if self.snr is not None and not self.snr > 0:
            raise InputError(f"--snr {self.snr}: must be positive; --no-noise leaves it out")
        if not 0 <= self.max_shift < half:
            raise InputError(f"--shift {self.max_shift}: must be 0 to half the box, {half:g} Å")
        if self.mask_radius is not None and not self.mask_radius > 0:
            raise InputError(f"--mask-radius {self.mask_radius}: must be positive")
        if self.dose is not None and not 0 < self.dose < np.inf:
            raise InputError(f"--dose {self.dose:g}: electrons/Å² must be positive")
        if not 0 <= self.ice < np.inf:
            raise InputError(f"--ice {self.ice:g}: a thickness in Å cannot be negative")
        if self.batch < 1:
            raise InputError(f"-b {self.batch}: one image at a time is the least")
        if self.optics is not None:
            self.optics.check()


class Particles(NamedTuple):
    """Hold what is true of each particle: state, coordinate on a path or None, pose and CTF."""

    state: Int[np.ndarray, " n"]
    coordinate: Float[np.ndarray, " n"] | None
    rotation: Float[np.ndarray, "n 3 3"]
    shift: Float[np.ndarray, "n 2"]
    ctf: CTFParameters | None
    half_set: Int[np.ndarray, " n"]


def draw_particles(
    specimen: Specimen,
    options: ParticleOptions,
    rotations: Float[np.ndarray, "n 3 3"] | None = None,
    shifts: Float[np.ndarray, "n 2"] | None = None,
    ctf: CTFParameters | None = None,
) -> Particles:
    """Draw states evenly, poses by Haar's measure, shifts, CTFs and half sets, or take the given.

    **Raises:** `InputError` if what is given is not one value an image.
    """
    n = options.count
    streams = np.random.SeedSequence(options.seed).spawn(5)
    states, poses, places, optics, halves = (np.random.default_rng(s) for s in streams)
    state, coordinate = specimen.draw(states, n)
    for name, given in (("poses", rotations), ("shifts", shifts), ("CTFs", ctf)):
        number = n if given is None else len(given[0] if given is ctf else given)
        if number != n:
            raise InputError(f"{number} {name} are given for {n} particles")
    if rotations is None:
        rotations = quaternion_to_matrix(poses.normal(size=(n, 4)))
    if shifts is None:
        shifts = places.uniform(-options.max_shift, options.max_shift, (n, 2))
    if ctf is None and options.optics is not None:
        ctf = options.optics.draw(optics, n)
    if ctf is None and options.dose is not None:
        raise InputError("--dose counts electrons behind a lens: leave out --no-ctf")
    return Particles(
        state.astype(np.int32),
        None if coordinate is None else coordinate.astype(np.float32),
        rotations.astype(np.float32),
        shifts.astype(np.float32),
        ctf,
        halves.permutation(np.arange(n) % 2).astype(np.int8),
    )


def particle_table(
    specimen: Specimen, particles: Particles, parts: Sequence[Part], folder: Path
) -> ParticleTable:
    """Describe simulated particles, whose images lie in stack files of a folder."""
    n = len(particles.state)
    counts = [part.count for part in parts]
    return ParticleTable(
        stacks=tuple(str(folder / part.name) for part in parts),
        stack_id=np.repeat(np.arange(len(parts), dtype=np.int32), counts),
        image_index=np.concatenate([np.arange(count, dtype=np.int64) for count in counts]),
        box=np.full(n, specimen.box, np.int32),
        pixel_size=np.full(n, specimen.pixel_size, np.float64),
        rotation=particles.rotation,
        shift=particles.shift,
        ctf=particles.ctf,
        optics_group=np.zeros(n, np.int32),
        half_set=particles.half_set.astype(np.int8),
        row=np.arange(n, dtype=np.int64),
    )

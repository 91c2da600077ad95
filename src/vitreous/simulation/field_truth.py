"""Which particles a simulated field of view holds, and where, drawn by seed and number."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int

from vitreous.errors import InputError
from vitreous.geometry.rotations import quaternion_to_matrix
from vitreous.imaging.ctf import CTFParameters
from vitreous.simulation.micrograph_options import MicrographOptions
from vitreous.simulation.specimen import Specimen

# Tries to place a particle at a distance from the others.
_TRIES = 2000


class FieldTruth(NamedTuple):
    """Hold what is true of the particles of a field of view.

    Fields: `place`: `(x, y)` in pixels from the corner pixel; `height`: Å, added to the defocus;
    `rotation`: volume to image; `state`; `coordinate` on a path, or None. `ctf`: of the micrograph,
    single numbers, or None.
    """

    place: Float[np.ndarray, "n 2"]
    height: Float[np.ndarray, " n"]
    rotation: Float32[np.ndarray, "n 3 3"]
    state: Int[np.ndarray, " n"]
    coordinate: Float[np.ndarray, " n"] | None
    ctf: CTFParameters | None

    def particle_ctf(self) -> CTFParameters | None:
        """Return the CTF of each particle at its own height."""
        if self.ctf is None:
            return None
        same = np.ones(len(self.height), np.float32)
        ctf = CTFParameters(*(np.asarray(field) * same for field in self.ctf))
        height = self.height.astype(np.float32)
        return ctf._replace(defocus_u=ctf.defocus_u + height, defocus_v=ctf.defocus_v + height)


def draw_field(specimen: Specimen, options: MicrographOptions, number: int) -> FieldTruth:
    """Draw places, heights, poses, states and the defocus of a micrograph, by seed and number.

    **Raises:** `InputError` if the particles do not find room.
    """
    streams = np.random.SeedSequence([options.seed, number]).spawn(5)
    states, poses, places, heights, lens = (np.random.default_rng(s) for s in streams)
    count = options.particles
    state, coordinate = specimen.draw(states, count)
    ctf = None
    if options.optics is not None:
        drawn = options.optics.draw(lens, 1)
        ctf = CTFParameters(*(np.asarray(field)[0] for field in drawn))
    depth = options.ice if options.depth is None else options.depth
    return FieldTruth(
        _places(places, options, specimen.box, specimen.pixel_size),
        heights.uniform(-depth / 2, depth / 2, count),
        quaternion_to_matrix(poses.normal(size=(count, 4))).astype(np.float32),
        state.astype(np.int32),
        None if coordinate is None else coordinate.astype(np.float32),
        ctf,
    )


def _places(
    rng: np.random.Generator, options: MicrographOptions, box: int, pixel_size: float
) -> Float[np.ndarray, "n 2"]:
    width, height = options.size
    border = box / 2 if options.border is None else options.border / pixel_size
    high = np.array([width - 1 - border, height - 1 - border])
    if (high < border).any():
        raise InputError(
            f"--size {width} {height}: leaves no room inside a border of {border:.0f} pixels; take "
            "a larger size or a smaller --border"
        )
    if options.min_distance == 0:
        return rng.uniform(border, high, (options.particles, 2))
    found = np.empty((0, 2))
    least = options.min_distance / pixel_size
    for _ in range(options.particles):
        for _ in range(_TRIES):
            place = rng.uniform(border, high)
            if not len(found) or np.sum((found - place) ** 2, axis=1).min() >= least**2:
                found = np.vstack([found, place])
                break
        else:
            raise InputError(
                f"--min-distance {options.min_distance:g}: only {len(found)} of "
                f"{options.particles} particles find room; take fewer, or a larger --size"
            )
    return found

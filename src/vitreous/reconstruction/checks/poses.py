"""Do the poses fit the images, and are shifts and rotations in the units and sense they should?"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from vitreous.reconstruction.backprojection import Geometry, Slices
from vitreous.reconstruction.checks.evidence import (
    DECISIVE,
    Explanation,
    advantage,
    explain,
    shuffled,
)


class PoseChange(NamedTuple):
    """Name a change of the poses that explains the images better than what is given.

    **Fields:** `problem`, `mend`: for the report. `advantage`: in standard deviations.
    """

    problem: str
    mend: str
    advantage: float


def pose_signal(given: Explanation, slices: Slices, geometry: Geometry) -> float:
    """Say by how many standard deviations the poses beat the same rotations dealt out at random."""
    return advantage(given, explain(shuffled(slices), geometry))


def better_poses(
    given: Explanation, slices: Slices, geometry: Geometry, pixel_size: float, box: int
) -> PoseChange | None:
    """Try the ways in which poses are usually mistaken; return the best that is clearly better.

    **Arguments:** `pixel_size` (Å) and `box` of the images as stored.
    """
    best: PoseChange | None = None
    for problem, mend, changed in _changes(slices, pixel_size, box):
        sigmas = advantage(explain(changed, geometry), given)
        if sigmas > DECISIVE and (best is None or sigmas > best.advantage):
            best = PoseChange(problem, mend, sigmas)
    return best


def _changes(slices: Slices, pixel_size: float, box: int) -> Iterator[tuple[str, str, Slices]]:
    transposed = slices._replace(rotation=slices.rotation.swapaxes(-1, -2))
    yield "rotations are transposed", "write x_image = R x_volume", transposed
    shift = np.asarray(slices.shift)
    spread = float(np.sqrt(np.mean(shift**2)))
    side = pixel_size * box
    if spread == 0:
        return
    tried: list[float] = []
    scales = [
        (-1.0, "shifts point the wrong way", "turn their sign"),
        (0.0, "shifts do harm", "set them to zero: these images are centred already"),
        (pixel_size, "shifts are too small by the pixel size", "they are pixels, not Å"),
        (1 / pixel_size, "shifts are too large by the pixel size", "they are Å, not pixels"),
        (box, "shifts are too small by the box", "they are fractions of the box, not pixels"),
        (1 / box, "shifts are too large by the box", "they are pixels, not fractions of the box"),
    ]
    for scale, problem, mend in scales:
        is_new = all(abs(scale - other) > 0.2 * abs(other) for other in [1.0, *tried])
        # A change of less than a tenth of a pixel, or beyond the box, explains nothing.
        moves = spread * abs(scale - 1) > 0.1 * pixel_size
        if is_new and moves and spread * abs(scale) < 0.25 * side:
            tried.append(scale)
            yield problem, mend, slices._replace(shift=slices.shift * np.float32(scale))

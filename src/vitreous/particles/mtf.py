"""The modulation transfer of a camera as RELION's STAR files give it."""

import os

import numpy as np

from vitreous.errors import InputError
from vitreous.imaging.operators import Tabulated
from vitreous.particles.star import read_star


def read_mtf(path: str | os.PathLike, pixel_size: float) -> Tabulated:
    """Read an MTF curve, to be a detector's `mtf`.

    **Arguments:** `pixel_size`: Å of the camera's own pixels, before any binning: the file counts
    in cycles a pixel (`rlnResolutionInversePixel`, 0 … 0.5).

    **Returns:** an operator of frequencies in cycles/Å, linear between the rows.

    **Raises:** `InputError` if the file is no STAR file, has no MTF, or one that cannot be.
    """
    needed = {"rlnResolutionInversePixel", "rlnMtfValue"}
    blocks = [b for b in read_star(path).blocks if needed <= set(b.columns)]
    if not blocks:
        raise InputError(f"{path}: has no columns rlnResolutionInversePixel and rlnMtfValue")
    frequency = blocks[0].numbers("rlnResolutionInversePixel")
    value = blocks[0].numbers("rlnMtfValue")
    if len(frequency) < 2 or not np.all(np.diff(frequency) > 0):
        raise InputError(f"{path}: rlnResolutionInversePixel does not ascend; sort its rows")
    if not (np.isfinite(value).all() and (value >= 0).all()):
        row = int(np.argmin(np.isfinite(value) & (value >= 0))) + 1
        raise InputError(f"{path}: rlnMtfValue of row {row} is not a number of at least 0")
    return Tabulated(frequency / pixel_size, value)

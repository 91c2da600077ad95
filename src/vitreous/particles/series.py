"""Tell tilt series from single particles by what differs within groups of images.

The same column names the particle of a tilt image and, in single particle files, a group of
micrographs: what is said of the images of a group decides.
"""

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

# Of the images of a tilt series, this share at least must differ in dose.
_MOSTLY = 0.9
# Tilts to both sides have one scale, so about half of a particle's images differ in it.
_ABOUT_HALF = 0.45, 0.6


def differs_within(group: Int[np.ndarray, " n"], values: Float[np.ndarray, " n"]) -> bool:
    """Say whether (nearly) all images of each group have values of their own."""
    several = group.max(initial=0) + 1 < len(group)
    return bool(several and _distinct(group, values) >= _MOSTLY * len(group))


def falls_as_in_tilts(group: Int[np.ndarray, " n"], scale: Float[np.ndarray, " n"]) -> bool:
    """Say whether CTF scale factors fall within each group as the ice of a tilt series thickens.

    Values repeat from group to group, as tilts do; fitted scales of single particles would not.
    """
    several = group.max(initial=0) + 1 < len(group)
    least, most = (share * len(group) for share in _ABOUT_HALF)
    return bool(several and _distinct(group, scale) >= least and len(np.unique(scale)) <= most)


def _distinct(group: Int[np.ndarray, " n"], values: Float[np.ndarray, " n"]) -> int:
    return int(pd.MultiIndex.from_arrays([group, values]).nunique())

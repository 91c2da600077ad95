"""Tell tilt series from single particles by what differs within groups of images.

The same column names the particle of a tilt image and, in single particle files, a group of
micrographs: what is said of the images of a group decides.
"""

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

# Of the images of a tilt series, this share at least must differ in dose.
_MOSTLY = 0.9
# Tilts to both sides have one scale, so about half of a particle's images differ in it, and a set
# has no more scales than that.
_ABOUT_HALF = 0.4, 0.6


def differs_within(group: Int[np.ndarray, " n"], values: Float[np.ndarray, " n"]) -> bool:
    """Say whether (nearly) all images of each group have values of their own."""
    return _differing(group, values) >= _MOSTLY


def falls_as_in_tilts(group: Int[np.ndarray, " n"], scale: Float[np.ndarray, " n"]) -> bool:
    """Say whether CTF scale factors fall within each group as the ice of a tilt series thickens.

    Values repeat from group to group, as tilts do; fitted scales of single particles would not.
    """
    least, most = _ABOUT_HALF
    return _differing(group, scale) >= least and len(np.unique(scale)) <= most * len(group)


def _differing(group: Int[np.ndarray, " n"], values: Float[np.ndarray, " n"]) -> float:
    """Return the share of images, beyond the first of each group, whose value is a new one."""
    groups = group.max(initial=-1) + 1
    distinct = pd.MultiIndex.from_arrays([group, values]).nunique()
    return float((distinct - groups) / max(len(group) - groups, 1))

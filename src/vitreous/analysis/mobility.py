"""Where the maps of a series differ: the tint that marks moving parts on every surface."""

from collections.abc import Sequence

import numpy as np
import scipy.ndimage
from jaxtyping import Float


def mobility(
    volumes: Sequence[Float[np.ndarray, "n n n"]], level: float
) -> Float[np.ndarray, "n n n"]:
    """Mark voxels that only some maps of a series fill.

    **Arguments:** `level`: contour that separates molecule from solvent.

    **Returns:** 0 where all maps have density (or none has), up to 1 where few have.
    """
    share = np.zeros(volumes[0].shape, np.float32)
    for volume in volumes:
        # A surface lies on the rim of its own density: widen by a voxel, so that the rim counts.
        near = scipy.ndimage.maximum_filter(volume, 3) > level
        share += scipy.ndimage.uniform_filter(near.astype(np.float32), 3)
    share /= len(volumes)
    return np.where(share > 0, np.clip(1.5 * (0.92 - share), 0, 1), 0).astype(np.float32)

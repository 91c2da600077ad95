"""Whether a map has the symmetry it is said to have."""

import numpy as np
import scipy.ndimage
from jaxtyping import Float

from vitreous.errors import InputError

# Correlation with its own turned copy that a map must reach to count as symmetric.
LEAST_AGREEMENT = 0.8


def agreement(
    density: Float[np.ndarray, "z y x"],
    rotations: Float[np.ndarray, "g 3 3"],
    centre: Float[np.ndarray, " 3"],
) -> float:
    """Correlate a map with its copies turned by a group; the worst of them.

    **Arguments:** `centre`: `(x, y, z)` in voxels, where the axes meet.
    """
    worst = 1.0
    middle = centre[::-1]
    for rotation in rotations[1:]:
        # Array order: reverse both axes of the matrix that acts on (x, y, z).
        turn = rotation[::-1, ::-1]
        turned = scipy.ndimage.affine_transform(
            density, turn, offset=middle - turn @ middle, order=1
        )
        worst = min(worst, float(np.corrcoef(density.ravel(), turned.ravel())[0, 1]))
    return worst


def check_symmetry(
    path: str,
    name: str,
    density: Float[np.ndarray, "z y x"],
    rotations: Float[np.ndarray, "g 3 3"],
    centre: Float[np.ndarray, " 3"],
) -> None:
    """Refuse a map that does not have the symmetry it is said to have.

    **Raises:** `InputError`.
    """
    found = agreement(density, rotations, centre)
    if found < LEAST_AGREEMENT:
        raise InputError(
            f"{path}: does not have the symmetry {name} about the centre of its box (turned "
            f"copies correlate at {found:.2f}); align it to the axes or leave out --sym"
        )

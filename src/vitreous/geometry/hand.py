"""The other hand: a map mirrored through its xy plane, and the poses that go with it.

Images cannot tell a map `V(x)` with poses `R` from `V(Jx)` with poses `J R J`: with
`J = diag(1, 1, −1)` both project to the same pictures, shifts unchanged.
"""

import numpy as np
from jaxtyping import Float

MIRROR = np.diag([1.0, 1.0, -1.0])


def mirror(volume: Float[np.ndarray, "n n n"]) -> Float[np.ndarray, "n n n"]:
    """Reverse z about the centre of the box (index `n // 2`)."""
    return np.roll(volume[::-1], 1 - len(volume) % 2, axis=0)


def mirror_rotations(rotation: Float[np.ndarray, "*n 3 3"]) -> Float[np.ndarray, "*n 3 3"]:
    """Return `J R J`: the poses of the mirrored map."""
    sign = np.diagonal(MIRROR)
    return rotation * (sign[:, None] * sign).astype(rotation.dtype)

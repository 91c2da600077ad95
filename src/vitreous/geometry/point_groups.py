"""Point groups: the rotations that leave a symmetric molecule unchanged.

Axes as in RELION: the main axis of C, D along z, a twofold of D along x; twofolds of T, O and I
along x, y and z.
"""

import re

import numpy as np
from jaxtyping import Float

from vitreous.errors import InputError
from vitreous.geometry.rotations import rotation_vector_to_matrix


def point_group(name: str) -> Float[np.ndarray, "g 3 3"]:
    """List the rotations of a group: `C4`, `D2`, `T`, `O`, `I` (`I1` and `I2` as in RELION).

    **Raises:** `InputError` for a name that is none.
    """
    match = re.fullmatch(r"([CD])([1-9]\d?)|(T|O|I|I1|I2)", name.strip().upper())
    if match is None:
        raise InputError(f"symmetry {name!r}: not a point group; C1, C4, D2, T, O, I1 and I2 are")
    golden = (1 + 5**0.5) / 2
    kind, order, solid = match.groups()
    if solid is None:
        generators = [_turn((0.0, 0.0, 1.0), 360 / int(order))]
        if kind == "D":
            generators.append(_turn((1.0, 0.0, 0.0), 180.0))
    else:
        third = _turn((1.0, 1.0, 1.0), 120.0)
        generators = {
            "T": [_turn((0.0, 0.0, 1.0), 180.0), third],
            "O": [_turn((0.0, 0.0, 1.0), 90.0), third],
            "I": [_turn((0.0, 0.0, 1.0), 180.0), third, _turn((1.0, 0.0, golden), 72.0)],
            "I2": [_turn((0.0, 0.0, 1.0), 180.0), third, _turn((1.0, 0.0, golden), 72.0)],
            "I1": [_turn((0.0, 0.0, 1.0), 180.0), third, _turn((0.0, 1.0, golden), 72.0)],
        }[solid]
    return _closure(generators)


def _turn(axis: tuple[float, float, float], degrees: float) -> Float[np.ndarray, "3 3"]:
    direction = np.array(axis) / np.linalg.norm(axis)
    return rotation_vector_to_matrix(direction * degrees)


def _closure(generators: list[np.ndarray]) -> Float[np.ndarray, "g 3 3"]:
    """Multiply until nothing new appears."""
    found = [np.eye(3)]
    for element in found:
        for generator in generators:
            new = generator @ element
            if not any(np.allclose(new, old, atol=1e-6) for old in found):
                found.append(new)
    return np.stack(found)

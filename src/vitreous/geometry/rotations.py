"""Rotations of SO(3) in every form the field writes them, for NumPy and JAX arrays alike.

`R` maps volume to image coordinates, `x_image = R x_volume`, and equals RELION's Euler matrix.
Angles are in degrees. Every function takes any leading batch axes.
"""

from types import ModuleType
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

AnyArray = TypeVar("AnyArray", np.ndarray, jax.Array)


def _namespace(x: np.ndarray | jax.Array) -> ModuleType:
    return np if isinstance(x, np.ndarray | np.generic) else jnp


def _matrix(xp: ModuleType, *entries):
    return xp.stack(xp.broadcast_arrays(*entries), axis=-1).reshape(
        *np.broadcast_shapes(*(e.shape for e in entries)), 3, 3
    )


def euler_to_matrix(angles: Float[AnyArray, "... 3"]) -> Float[AnyArray, "... 3 3"]:
    """Turn RELION Euler angles into rotation matrices.

    **Arguments:** `angles`: `(rot, tilt, psi)` in degrees, ZYZ, shape `(..., 3)`.

    **Returns:** `R = Rz(psi) Ry(tilt) Rz(rot)`, shape `(..., 3, 3)`, mapping volume to image.

    **Source:** RELION convention; Heymann, Chagoyen & Belnap (2005) J. Struct. Biol. 151, 196.

    ```python
    >>> import numpy as np
    >>> euler_to_matrix(np.array([30.0, 40.0, 50.0]))[2].round(4).tolist()
    [0.5567, 0.3214, 0.766]

    ```
    """
    xp = _namespace(angles)
    radians = angles * (np.pi / 180)
    ca, cb, cg = (xp.cos(radians[..., i]) for i in range(3))
    sa, sb, sg = (xp.sin(radians[..., i]) for i in range(3))
    return _matrix(
        xp,
        cg * cb * ca - sg * sa,
        cg * cb * sa + sg * ca,
        -cg * sb,
        -sg * cb * ca - cg * sa,
        -sg * cb * sa + cg * ca,
        sg * sb,
        sb * ca,
        sb * sa,
        cb,
    )


def matrix_to_euler(matrix: Float[AnyArray, "... 3 3"]) -> Float[AnyArray, "... 3"]:
    """Turn rotation matrices into RELION Euler angles.

    **Returns:** `(rot, tilt, psi)` in degrees, `tilt` in [0, 180]. Where `sin tilt = 0` only
    `psi + rot` (or `psi - rot`) is defined, and `rot` is set to 0.
    """
    xp = _namespace(matrix)
    m = [[matrix[..., i, j] for j in range(3)] for i in range(3)]
    sin_tilt = xp.hypot(m[2][0], m[2][1])
    rot = xp.where(sin_tilt < 1e-7, 0.0, xp.arctan2(m[2][1], m[2][0]))
    tilt = xp.arctan2(sin_tilt, m[2][2])
    # psi is what R Rz(−rot) leaves in the plane: exact for any rot, even one that is mere
    # rounding noise because the tilt nearly vanishes.
    c, s = xp.cos(rot), xp.sin(rot)
    psi = xp.arctan2(m[0][1] * c - m[0][0] * s, m[1][1] * c - m[1][0] * s)
    return xp.stack([rot, tilt, psi], axis=-1) * (180 / np.pi)


def quaternion_to_matrix(quaternion: Float[AnyArray, "... 4"]) -> Float[AnyArray, "... 3 3"]:
    """Turn quaternions `(w, x, y, z)`, of any non-zero length, into rotation matrices.

    The matrix is the active one, `x' = q x q*`.
    """
    xp = _namespace(quaternion)
    q = quaternion / xp.linalg.norm(quaternion, axis=-1, keepdims=True)
    w, x, y, z = (q[..., i] for i in range(4))
    return _matrix(
        xp,
        1 - 2 * (y * y + z * z),
        2 * (x * y - w * z),
        2 * (x * z + w * y),
        2 * (x * y + w * z),
        1 - 2 * (x * x + z * z),
        2 * (y * z - w * x),
        2 * (x * z - w * y),
        2 * (y * z + w * x),
        1 - 2 * (x * x + y * y),
    )


def matrix_to_quaternion(matrix: Float[AnyArray, "... 3 3"]) -> Float[AnyArray, "... 4"]:
    """Turn rotation matrices into unit quaternions `(w, x, y, z)` with `w >= 0`.

    Of the four ways to divide, the one with the largest divisor is taken, so no rotation is
    ill-conditioned.
    """
    xp = _namespace(matrix)
    m = [[matrix[..., i, j] for j in range(3)] for i in range(3)]
    xx, yy, zz = m[0][0], m[1][1], m[2][2]
    zy, xz, yx = m[2][1] - m[1][2], m[0][2] - m[2][0], m[1][0] - m[0][1]
    xy, xz_sum, yz = m[0][1] + m[1][0], m[0][2] + m[2][0], m[1][2] + m[2][1]
    candidates = xp.stack(
        [
            xp.stack([1 + xx + yy + zz, zy, xz, yx], axis=-1),
            xp.stack([zy, 1 + xx - yy - zz, xy, xz_sum], axis=-1),
            xp.stack([xz, xy, 1 - xx + yy - zz, yz], axis=-1),
            xp.stack([yx, xz_sum, yz, 1 - xx - yy + zz], axis=-1),
        ],
        axis=-2,
    )
    divisor = xp.stack([candidates[..., i, i] for i in range(4)], axis=-1)
    best = xp.argmax(divisor, axis=-1)[..., None, None]
    q = xp.take_along_axis(candidates, best, axis=-2)[..., 0, :]
    q = q / xp.linalg.norm(q, axis=-1, keepdims=True)
    return xp.where(q[..., :1] < 0, -q, q)


def rotation_vector_to_matrix(vector: Float[AnyArray, "... 3"]) -> Float[AnyArray, "... 3 3"]:
    """Turn rotation vectors (axis × angle, in degrees) into matrices `exp([ω]×)`.

    Smooth, with finite gradients, at the zero vector.
    """
    xp = _namespace(vector)
    omega = vector * (np.pi / 180)
    square = xp.sum(omega * omega, axis=-1)
    small = square < 1e-8
    safe = xp.where(small, 1.0, square)
    angle = xp.sqrt(safe)
    a = xp.where(small, 1 - square / 6, xp.sin(angle) / angle)
    b = xp.where(small, 0.5 - square / 24, (1 - xp.cos(angle)) / safe)
    x, y, z = (omega[..., i] for i in range(3))
    return _matrix(
        xp,
        1 - b * (y * y + z * z),
        b * x * y - a * z,
        b * x * z + a * y,
        b * x * y + a * z,
        1 - b * (x * x + z * z),
        b * y * z - a * x,
        b * x * z - a * y,
        b * y * z + a * x,
        1 - b * (x * x + y * y),
    )


def matrix_to_rotation_vector(matrix: Float[AnyArray, "... 3 3"]) -> Float[AnyArray, "... 3"]:
    """Turn rotation matrices into rotation vectors in degrees, angle in [0, 180]."""
    xp = _namespace(matrix)
    q = matrix_to_quaternion(matrix)
    square = xp.sum(q[..., 1:] * q[..., 1:], axis=-1, keepdims=True)
    small = square < 1e-12
    norm = xp.sqrt(xp.where(small, 1.0, square))
    scale = xp.where(small, 2.0, 2 * xp.arctan2(norm, q[..., :1]) / norm)
    return q[..., 1:] * scale * (180 / np.pi)


def sixd_to_matrix(sixd: Float[AnyArray, "... 6"]) -> Float[AnyArray, "... 3 3"]:
    """Turn six numbers into a rotation: the first two rows, made orthonormal by Gram–Schmidt.

    **Source:** Zhou et al. (2019) "On the continuity of rotation representations".
    """
    xp = _namespace(sixd)
    first, second = sixd[..., :3], sixd[..., 3:]
    e1 = first / xp.linalg.norm(first, axis=-1, keepdims=True)
    second = second - xp.sum(e1 * second, axis=-1, keepdims=True) * e1
    e2 = second / xp.linalg.norm(second, axis=-1, keepdims=True)
    return xp.stack([e1, e2, xp.cross(e1, e2)], axis=-2)


def matrix_to_sixd(matrix: Float[AnyArray, "... 3 3"]) -> Float[AnyArray, "... 6"]:
    """Return the first two rows of each rotation matrix, shape `(..., 6)`."""
    return matrix[..., :2, :].reshape(*matrix.shape[:-2], 6)


def geodesic_distance(
    first: Float[AnyArray, "... 3 3"], second: Float[AnyArray, "... 3 3"]
) -> Float[AnyArray, "..."]:
    """Measure the angle in degrees, [0, 180], of the rotation between two rotations.

    Sine and cosine come from different sums over the rows, so that no angle loses its digits.
    Batch axes broadcast if both have the same number of them.
    """
    xp = _namespace(first)
    twice_sine = xp.sum(xp.cross(first, second), axis=-2)
    square = xp.sum(twice_sine * twice_sine, axis=-1)
    same = square == 0
    sine = xp.where(same, 0.0, xp.sqrt(xp.where(same, 1.0, square)))
    cosine = xp.sum(first * second, axis=(-2, -1)) - 1
    return xp.arctan2(sine, cosine) * (180 / np.pi)


def random_rotations(key: jax.Array, count: int) -> Float[Array, "count 3 3"]:
    """Draw rotation matrices uniformly (Haar) from SO(3): normalised Gaussian quaternions."""
    return quaternion_to_matrix(jax.random.normal(key, (count, 4)))

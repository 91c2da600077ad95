"""The orientations a search tries: even directions, turned in the plane, each once by symmetry."""

import numpy as np
from jaxtyping import Float

from vitreous.errors import InputError
from vitreous.geometry.rotations import euler_to_matrix

# Mean distance in degrees of neighbouring HEALPix directions at nside 1: √(4π/12).
_SPACING = np.rad2deg(np.sqrt(np.pi / 3))
# Of all directions that look alike, the one nearest to this is tried; it lies on no axis.
_REFERENCE = np.array([0.5257, 0.2137, 0.8234])


def ring_directions(nside: int) -> Float[np.ndarray, "m 2"]:
    """Return the `12 nside²` HEALPix directions, ring by ring, for any `nside` from 1 on.

    **Returns:** `(rot, tilt)` in degrees, float64.

    **Source:** Górski et al. (2005) ApJ 622, 759, equations 4–9.
    """
    angles = []
    for ring in range(1, 4 * nside):
        cap = min(ring, 4 * nside - ring)
        if cap < nside:
            count, start = 4 * cap, 0.5
            z = (1 - cap**2 / (3 * nside**2)) * (1 if ring < nside else -1)
        else:
            count, start = 4 * nside, 0.5 * ((ring - nside + 1) % 2)
            z = 4 / 3 - 2 * ring / (3 * nside)
        rot = (np.arange(count) + start) * (360 / count)
        angles.append(np.stack([rot, np.full(count, np.rad2deg(np.arccos(z)))], axis=-1))
    return np.concatenate(angles)


def search_directions(
    step: float, group: Float[np.ndarray, "g 3 3"] | None = None
) -> Float[np.ndarray, "m 2"]:
    """Spread beam directions over the sphere.

    **Arguments:** `step`: degrees between neighbours. `group`: the rotations that leave the
    template unchanged; of equivalent directions one is kept.

    **Returns:** `(rot, tilt)` in degrees, float64.
    """
    if not 0 < step <= 180:
        raise InputError(f"--step {step:g}: an angular step lies between 0 and 180 degrees")
    angles = ring_directions(max(1, int(np.ceil(_SPACING / step - 1e-9))))
    if group is None:
        return angles
    rot, tilt = np.deg2rad(angles).T
    beam = [np.sin(tilt) * np.cos(rot), np.sin(tilt) * np.sin(rot), np.cos(tilt)]
    directions = np.stack(beam, axis=-1)
    # (R g)[2] = gᵀ R[2]: these directions all show the same image.
    alike = np.einsum("gji,mj->gmi", group, directions) @ _REFERENCE
    return angles[directions @ _REFERENCE >= alike.max(axis=0) - 1e-9]


def search_angles(
    step: float,
    in_plane_step: float | None = None,
    group: Float[np.ndarray, "g 3 3"] | None = None,
) -> Float[np.ndarray, "m 3"]:
    """List the orientations to try: each direction at every in-plane angle.

    **Arguments:** `step`, `in_plane_step`: degrees; the second is the first if left out. `group`:
    see `search_directions`.

    **Returns:** RELION's `(rot, tilt, psi)` in degrees, direction by direction, float64.

    ```python
    >>> len(search_angles(30.0)), len(search_angles(30.0, 90.0))
    (576, 192)

    ```
    """
    in_plane_step = step if in_plane_step is None else in_plane_step
    if not 0 < in_plane_step <= 360:
        raise InputError(f"--in-plane-step {in_plane_step:g}: lies between 0 and 360 degrees")
    directions = search_directions(step, group)
    count = int(np.ceil(360 / in_plane_step - 1e-9))
    psi = np.arange(count) * (360 / count)
    angles = np.empty((len(directions), count, 3))
    angles[..., :2] = directions[:, None]
    angles[..., 2] = psi
    return angles.reshape(-1, 3)


def angles_to_rotations(angles: Float[np.ndarray, "m 3"]) -> Float[np.ndarray, "m 3 3"]:
    """Return the rotations of `(rot, tilt, psi)`, float32."""
    return euler_to_matrix(angles).astype(np.float32)

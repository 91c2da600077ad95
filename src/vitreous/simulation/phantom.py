"""A made-up molecule that hinges: a helical clamp with an arm that swings over its opening.

Built of right-handed α-helices and loops, four pseudo-atoms a residue, with no symmetry: a wrong
hand, axis or sign in any program downstream shows.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vitreous.geometry.rotations import rotation_vector_to_matrix
from vitreous.imaging.gaussians import GaussianAtoms

# Pseudo-atoms of a helical residue: distance from the helix axis (Å), lag in turn and rise.
_RADIUS = np.array([1.5, 2.3, 1.7, 4.2])
_LAG = np.array([-28.0, 0.0, 25.0, 12.0])
_RISE = np.array([-0.9, 0.0, 1.1, 0.2])
_TURN, _PITCH_RISE = 100.0, 1.5  # degrees and Å a residue
_AMPLITUDE = 4.5  # Å, a quarter of a residue's forward scattering
SIGMA = 1.5  # Å, of every pseudo-atom


class Hinge(eqx.Module):
    """Hold the molecule at hinge angle 0 and how it moves.

    **Fields:** `body` and `arm`: pseudo-atoms (Å, box centre at the origin). `pivot` and `axis`:
    the arm turns about this line, right-handed. `amplitude` and `sigma` (Å): of every pseudo-atom.
    """

    body: Float[Array, "m 3"]
    arm: Float[Array, "k 3"]
    pivot: Float[Array, "3"]
    axis: Float[Array, "3"]
    amplitude: float = eqx.field(static=True, default=_AMPLITUDE)
    sigma: float = eqx.field(static=True, default=SIGMA)

    def at(self, angle: Float[Array, "..."]) -> GaussianAtoms:
        """Return the molecule at hinge angles in degrees: positions `(..., m + k, 3)`."""
        turn = rotation_vector_to_matrix(angle[..., None] * self._row(self.axis, angle.ndim))
        arm = self.arm - self.pivot[None]
        arm = arm.reshape(*(1,) * angle.ndim, *arm.shape)
        moved = jnp.sum(turn[..., None, :, :] * arm[..., None, :], axis=-1)
        moved = moved + self._row(self.pivot, angle.ndim + 1)
        body = jnp.broadcast_to(self.body, (*angle.shape, *self.body.shape))
        ones = jnp.ones((len(self.body) + len(self.arm), 1), body.dtype)
        position = jnp.concatenate([body, moved], axis=-2)
        return GaussianAtoms(position, self.amplitude * ones, self.sigma**2 * ones)

    @staticmethod
    def _row(vector: Float[Array, "3"], rank: int) -> Float[Array, "... 3"]:
        return vector.reshape(*(1,) * rank, 3)


def _helix(start: np.ndarray, end: np.ndarray, phase: float) -> np.ndarray:
    """Wind an α-helix from start to end; four pseudo-atoms a residue."""
    axis = end - start
    length = np.linalg.norm(axis)
    axis = axis / length
    across = np.cross(axis, [1.0, 0.0, 0.0] if abs(axis[0]) < 0.8 else [0.0, 1.0, 0.0])
    across /= np.linalg.norm(across)
    other = np.cross(axis, across)
    residue = np.arange(int(length / _PITCH_RISE) + 1)[:, None]
    angle = np.deg2rad(phase + _TURN * residue + _LAG)
    along = _PITCH_RISE * residue + _RISE
    atoms = (
        start
        + along[..., None] * axis
        + (_RADIUS * np.cos(angle))[..., None] * across
        + (_RADIUS * np.sin(angle))[..., None] * other
    )
    return atoms.reshape(-1, 3)


def _loop(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Join two ends by a straight chain, a residue every 3.8 Å."""
    count = max(1, round(np.linalg.norm(end - start) / 3.8))
    t = (np.arange(4 * count) + 0.5)[:, None] / (4 * count)
    return start + t * (end - start)


def _chain(segments: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """String helices together by loops."""
    parts = []
    for i, (start, end) in enumerate(segments):
        parts.append(_helix(start, end, 37.0 * i))
        if i + 1 < len(segments):
            parts.append(_loop(end, segments[i + 1][0]))
    return np.concatenate(parts)


def _clamp() -> list[tuple[np.ndarray, np.ndarray]]:
    """Lay fourteen pairs of antiparallel helices on three quarters of a rising ring."""
    segments = []
    for i in range(14):
        turn = np.deg2rad(19.0 * i)
        for side, radius in ((-1, 34.0), (1, 24.0)):
            lean = np.deg2rad(19.0 * i + side * 8)
            length = 20.0 + 0.9 * i + (4.0 if side > 0 else 0.0)
            low = np.array([radius * np.cos(turn), radius * np.sin(turn), 1.8 * i - length / 2])
            high = np.array([radius * np.cos(lean), radius * np.sin(lean), 1.8 * i + length / 2])
            segments.append((low, high) if side < 0 else (high, low))
    return segments


def _arm(root: np.ndarray, forward: np.ndarray, up: np.ndarray) -> list:
    """Lay three long helices from the root and a fist of eight short ones at their end."""
    side = np.cross(up, forward)

    def place(*along: int) -> np.ndarray:
        return root + along[0] * forward + along[1] * side + along[2] * up

    rod = [
        (place(0, 0, 0), place(44, 2, 2)),
        (place(42, 11, 4), place(4, 10, 3)),
        (place(6, 5, 12), place(45, 4, 13)),
        (place(40, -7, 10), place(10, -6, 7)),
    ]
    fist = [
        (place(50, -14, 2), place(62, 10, 2)),
        (place(66, 13, 9), place(52, -11, 13)),
        (place(48, -12, 22), place(58, 12, 24)),
        (place(70, 14, 20), place(72, -10, 14)),
        (place(74, -8, 4), place(60, 0, -10)),
        (place(52, 14, -8), place(70, 20, 2)),
        (place(78, 8, 8), place(66, -2, 26)),
        (place(62, -14, 30), place(46, 2, 32)),
    ]
    return rod + fist


def hinge_phantom() -> Hinge:
    """Build the molecule: 2,500 pseudo-atoms in the clamp, 1,100 in the arm, 175 Å across.

    At 0° the arm lies over the opening of the clamp, at 60° it stands up. Values are potentials
    `U` (Å⁻²) like those of `atoms.scattering_gaussians`.
    """
    clamp = _clamp()
    last = clamp[-1][0]
    outward = np.array([last[0], last[1], 0.0]) / np.hypot(last[0], last[1])
    root = last + 6.0 * outward + np.array([0.0, 0.0, 5.0])
    up = np.array([0.0, 0.0, 1.0])
    tangent = np.cross(up, outward)
    forward = -outward - 0.3 * up + 0.25 * tangent
    forward /= np.linalg.norm(forward)
    above = up - (up @ forward) * forward
    above /= np.linalg.norm(above)
    body = _chain(clamp)
    arm = np.concatenate([_loop(last, root), _chain(_arm(root, forward, above))])
    axis = np.cross(forward, above)
    closed = _hinge(body, arm, root, axis)
    middle = np.asarray(closed.at(jnp.array([30.0])).position[0]).mean(axis=0)
    return _hinge(body - middle, arm - middle, root - middle, axis)


def _hinge(*fields: np.ndarray) -> Hinge:
    body, arm, pivot, axis = (jnp.asarray(x, jnp.float32) for x in fields)
    return Hinge(body, arm, pivot, axis)

"""The eight quarter turns and mirror images of a picture, exact about the pixel at half the box.

An image with pose `(R, t)`, turned or mirrored by the 2 × 2 matrix `A`, is an image of the same
volume with pose `(diag(A, det A) R, A t)`: a mirrored projection is the projection from behind.
On Fourier pixels the turn is a permutation and a conjugation, so no interpolation is involved.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from vitreous.geometry.fourier_pixels import FourierPixels

_QUARTER = np.array([[0.0, -1.0], [1.0, 0.0]])
_FLIP = np.diag([-1.0, 1.0])

# Four quarter turns, then the same after mirroring the x axis.
D4 = np.stack(
    [np.linalg.matrix_power(_QUARTER, q) @ f for f in (np.eye(2), _FLIP) for q in range(4)]
).round()
# The image and its mirror image: CryoFIRE's pair.
PAIR = D4[[0, 4]]
ALONE = D4[:1]


class Orbit(NamedTuple):
    """Hold a set of turns and what they do to listed pixels.

    **Fields:** `turns`: the matrices `A`. `source`, `is_mate`: turned pixel `i` is old pixel
    `source[g, i]`, conjugated where told.
    """

    turns: Float[np.ndarray, "g 2 2"]
    source: np.ndarray
    is_mate: np.ndarray

    @property
    def proper(self) -> Float[np.ndarray, "g 3 3"]:
        """The rotations `diag(A, det A)`."""
        return proper_rotations(self.turns)

    def __len__(self) -> int:
        return len(self.turns)

    def turn(self, pixels: Complex[Array, "b p"]) -> Complex[Array, "b g p"]:
        """Turn images in all ways."""
        turned = pixels[:, self.source]
        return jnp.where(jnp.asarray(self.is_mate)[None], turned.conj(), turned)

    def turn_real(self, pixels: Float[Array, "b p"]) -> Float[Array, "b g p"]:
        """Turn what is even in frequency and real: transfer functions."""
        return pixels[:, self.source]

    def turn_pose(
        self, rotation: Float[Array, "b 3 3"], shift: Float[Array, "b 2"]
    ) -> tuple[Float[Array, "b g 3 3"], Float[Array, "b g 2"]]:
        """Return the poses of turned images."""
        proper, turns = jnp.asarray(self.proper, jnp.float32), jnp.asarray(self.turns, jnp.float32)
        return (
            jnp.einsum("gij,bjk->bgik", proper, rotation, precision="highest"),
            jnp.einsum("gij,bj->bgi", turns, shift, precision="highest"),
        )

    def turn_back(
        self, rotation: Float[Array, "b g m 3 3"], shift: Float[Array, "b g m 2"]
    ) -> tuple[Float[Array, "b g m 3 3"], Float[Array, "b g m 2"]]:
        """Return the poses of the images themselves from poses of their turned versions."""
        proper, turns = jnp.asarray(self.proper, jnp.float32), jnp.asarray(self.turns, jnp.float32)
        return (
            jnp.einsum("gji,bgmjk->bgmik", proper, rotation, precision="highest"),
            jnp.einsum("gji,bgmj->bgmi", turns, shift, precision="highest"),
        )


def proper_rotations(turns: Float[np.ndarray, "g 2 2"]) -> Float[np.ndarray, "g 3 3"]:
    """Return `diag(A, det A)` of every turn."""
    proper = np.zeros((len(turns), 3, 3))
    proper[:, :2, :2] = turns
    proper[:, 2, 2] = np.linalg.det(turns)
    return proper.round()


def pixel_orbit(pixels: FourierPixels, turns: Float[np.ndarray, "g 2 2"]) -> Orbit:
    """Find where the pixels of turned images come from: `F'(k) = F(Aᵀ k)`."""
    frequency = pixels.frequency.astype(int)
    place = {tuple(k): i for i, k in enumerate(frequency.tolist())}
    source = np.zeros((len(turns), len(pixels)), np.int32)
    is_mate = np.zeros(source.shape, bool)
    for g, turn in enumerate(turns.astype(int)):
        for i, k in enumerate((frequency @ turn).tolist()):
            is_mate[g, i] = tuple(k) not in place
            source[g, i] = place[(-k[0], -k[1]) if is_mate[g, i] else tuple(k)]
    return Orbit(turns, source, is_mate)

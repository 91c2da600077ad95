"""Positional encodings: a frequency in [−½, ½]³ becomes sines and cosines of many phases."""

from typing import Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vitreous.geometry.waves import wave_of_turns

EncodingType = Literal[
    "gaussian", "geom_ft", "geom_full", "geom_lowf", "geom_nohighf", "linear_lowf", "none"
]
ENCODING_TYPES = get_args(EncodingType)


def axis_frequencies(kind: EncodingType, box: int, count: int) -> np.ndarray:
    """List the angular frequencies of an axis-wise encoding, shape `(count,)`.

    **Arguments:** `box`: side of the images in pixels, D. `count`: frequencies per axis, E
    (`linear_lowf` always has D/2).

    **Source:** as in cryoDRGN 4.3: geometric series Dπ → 2π (`geom_ft`), Dπ → 1
    (`geom_full`), D/2 → 1 (`geom_lowf`), D/2 → 2π (`geom_nohighf`); 1, 2, …, D/2 (`linear_lowf`).
    """
    if kind == "linear_lowf":
        return np.arange(1, box // 2 + 1, dtype=np.float32)
    ends = {
        "geom_ft": (box * np.pi, 2 * np.pi),
        "geom_full": (box * np.pi, 1.0),
        "geom_lowf": (box / 2, 1.0),
        "geom_nohighf": (box / 2, 2 * np.pi),
    }
    highest, lowest = ends[kind]
    return np.geomspace(highest, lowest, count).astype(np.float32)


class PositionalEncoding(eqx.Module):
    """Encode frequencies; the phases `x @ matrix` are fixed, never trained.

    **Fields:** `matrix`: angular frequency vectors `(3, f)`, None for no encoding.
    """

    matrix: Float[Array, "3 f"] | None

    @property
    def size(self) -> int:
        """Number of features."""
        return 3 if self.matrix is None else 2 * self.matrix.shape[1]

    def __call__(self, x: Float[Array, "... 3"]) -> Float[Array, "... features"]:
        """Return all sines, then all cosines; the coordinates themselves without a matrix.

        **Arguments:** `x`: frequency in cycles/pixel, each axis in [−½, ½].
        """
        if self.matrix is None:
            return x
        turns = x @ (jax.lax.stop_gradient(self.matrix) / (2 * np.pi))
        wave = wave_of_turns(turns)
        return jnp.concatenate([wave.imag, wave.real], axis=-1)


def build_encoding(
    kind: EncodingType, box: int, count: int, sigma: float, key: jax.Array
) -> PositionalEncoding:
    """Make an encoding for images of side `box`.

    **Arguments:** `count`: frequencies per axis, E. `sigma`: of `gaussian`, in units of D/2.
    """
    if kind == "none":
        return PositionalEncoding(None)
    if kind == "gaussian":
        # Random Fourier features, Tancik et al. (2020).
        return PositionalEncoding(jax.random.normal(key, (3, 3 * count)) * (sigma * box / 2))
    frequency = axis_frequencies(kind, box, count)
    return PositionalEncoding(jnp.asarray(np.kron(np.eye(3, dtype=np.float32), frequency)))

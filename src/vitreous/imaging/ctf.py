"""The contrast transfer function, RELION's sign: `+w` at DC, white particles."""

from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vitreous.geometry.rotations import AnyArray
from vitreous.geometry.waves import sine_of_turns

Contrast = Literal["white", "dark"]

_PLANCK = 6.62607015e-34
_ELECTRON_MASS = 9.1093837139e-31
_ELEMENTARY_CHARGE = 1.602176634e-19
_LIGHT_SPEED = 299792458.0


class CTFParameters(NamedTuple):
    """Hold the CTF of each particle; every field has the batch shape.

    Fields: `defocus_u`, `defocus_v` (Å, underfocus positive), `defocus_angle` (degrees from +x
    towards +y), `voltage` (kV), `spherical_aberration` (mm), `amplitude_contrast` (0..1),
    `phase_shift` (degrees), `bfactor` (Å²), `scale`.
    """

    defocus_u: Float[Array | np.ndarray, "..."]
    defocus_v: Float[Array | np.ndarray, "..."]
    defocus_angle: Float[Array | np.ndarray, "..."]
    voltage: Float[Array | np.ndarray, "..."]
    spherical_aberration: Float[Array | np.ndarray, "..."]
    amplitude_contrast: Float[Array | np.ndarray, "..."]
    phase_shift: Float[Array | np.ndarray, "..."]
    bfactor: Float[Array | np.ndarray, "..."]
    scale: Float[Array | np.ndarray, "..."]


def electron_wavelength(voltage: Float[AnyArray, "..."]) -> Float[AnyArray, "..."]:
    """Return the relativistic electron wavelength in Å for an accelerating voltage in kV.

    **Source:** `h / √(2 m e V (1 + eV / 2mc²))` with CODATA 2022 constants.
    """
    volts = voltage * 1e3
    energy = _ELEMENTARY_CHARGE / (2 * _ELECTRON_MASS * _LIGHT_SPEED**2)
    scale = _PLANCK / np.sqrt(2 * _ELECTRON_MASS * _ELEMENTARY_CHARGE).item() * 1e10
    return scale / (volts * (1 + energy * volts)) ** 0.5


def evaluate_ctf(
    frequency: Float[Array, "... p 2"],
    parameters: CTFParameters,
    contrast: Contrast = "white",
) -> Float[Array, "... p"]:
    """Evaluate the CTF at spatial frequencies.

    **Arguments:** `frequency`: `(kx, ky)` in cycles/Å, shape `(..., p, 2)`; batch axes broadcast
    with those of `parameters`. `contrast`: `"white"` for RELION's sign (a positive map gives
    white particles), `"dark"` for its negative.

    **Returns:** `scale · exp(−B k²/4) · (√(1−w²) sin χ + w cos χ)`, shape `(..., p)`.

    **Source:** `χ = πλ Δf(θ) k² − ½π Cs λ³ k⁴ + φ`,
    `Δf(θ) = ½[U + V + (U − V) cos 2(θ − θ_ast)]`.
    """
    batch = jnp.broadcast_shapes(frequency.shape[:-2], *(np.shape(field) for field in parameters))
    u, v, angle, voltage, cs, w, phase, b, scale = (
        jnp.broadcast_to(jnp.asarray(field), batch)[..., None] for field in parameters
    )
    leading = (1,) * (len(batch) + 2 - frequency.ndim)
    frequency = frequency.reshape(*leading, *frequency.shape)
    kx, ky = frequency[..., 0], frequency[..., 1]
    square = kx * kx + ky * ky
    wavelength = electron_wavelength(voltage)
    # cos 2(θ − a) = cos 2θ cos 2a + sin 2θ sin 2a, with k² cos 2θ = kx² − ky²: no atan2 needed.
    axis = angle * (np.pi / 90)
    astigmatism = jnp.cos(axis) * (kx * kx - ky * ky) + jnp.sin(axis) * (2 * kx * ky)
    # χ in turns. √(1−w²) sin χ + w cos χ = sin(χ + arcsin w): one sine in place of three functions.
    turns = (
        0.25 * wavelength * ((u + v) * square + (u - v) * astigmatism)
        - 0.25e7 * cs * wavelength**3 * square * square
        + (phase / 360 + jnp.arcsin(w) / (2 * np.pi))
    )
    value = sine_of_turns(turns) * scale * jnp.exp(-0.25 * b * square)
    return value if contrast == "white" else -value

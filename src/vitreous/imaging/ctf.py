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


def interaction_factor(voltage: Float[AnyArray, "..."]) -> Float[AnyArray, "..."]:
    """Return `λγ` in Å: the phase in radians of one Å⁻¹ of beam integral `∫U dz`.

    **Arguments:** `voltage` in kV.

    **Source:** `η = λγ ∫U dz` with `U = (m₀e/2πħ²) V` and `γ = 1 + eV/mc²`; 0.0312457 at 300 kV.
    """
    rest = _ELECTRON_MASS * _LIGHT_SPEED**2 / _ELEMENTARY_CHARGE
    return electron_wavelength(voltage) * (1 + voltage * 1e3 / rest)


def _with_batch(
    frequency: Float[Array, "... p 2"], parameters: CTFParameters
) -> tuple[Float[Array, "... p 2"], list[Float[Array, "... 1"]]]:
    """Give frequencies and parameters the same leading axes, parameters one more of length 1."""
    batch = jnp.broadcast_shapes(frequency.shape[:-2], *(np.shape(field) for field in parameters))
    fields = [jnp.broadcast_to(jnp.asarray(field), batch)[..., None] for field in parameters]
    leading = (1,) * (len(batch) + 2 - frequency.ndim)
    return frequency.reshape(*leading, *frequency.shape), fields


def _phase(
    frequency: Float[Array, "... p 2"],
    fields: list[Float[Array, "... 1"]],
    constant: Float[Array, "... 1"],
) -> Float[Array, "... p"]:
    """Return χ in turns, with a constant in place of the phase plate."""
    u, v, angle, voltage, cs = fields[:5]
    kx, ky = frequency[..., 0], frequency[..., 1]
    square = kx * kx + ky * ky
    wavelength = electron_wavelength(voltage)
    # cos 2(θ − a) = cos 2θ cos 2a + sin 2θ sin 2a, with k² cos 2θ = kx² − ky²: no atan2 needed.
    axis = angle * (np.pi / 90)
    astigmatism = jnp.cos(axis) * (kx * kx - ky * ky) + jnp.sin(axis) * (2 * kx * ky)
    return (
        0.25 * wavelength * ((u + v) * square + (u - v) * astigmatism)
        - 0.25e7 * cs * wavelength**3 * square * square
        + constant
    )


def envelope(
    frequency: Float[Array, "... p 2"], parameters: CTFParameters
) -> Float[Array, "... p"]:
    """Return `scale · exp(−B k²/4)` at spatial frequencies (cycles/Å)."""
    frequency, fields = _with_batch(frequency, parameters)
    bfactor, scale = fields[7:]
    return scale * jnp.exp(-0.25 * bfactor * jnp.sum(frequency * frequency, axis=-1))


def phase_turns(
    frequency: Float[Array, "... p 2"], parameters: CTFParameters
) -> Float[Array, "... p"]:
    """Return χ of `evaluate_ctf` in turns (multiples of 2π), the phase plate included."""
    frequency, fields = _with_batch(frequency, parameters)
    return _phase(frequency, fields, fields[6] / 360)


def evaluate_ctf(
    frequency: Float[Array, "... p 2"],
    parameters: CTFParameters,
    contrast: Contrast = "white",
    aberration: Float[Array, "... p"] | None = None,
) -> Float[Array, "... p"]:
    """Evaluate the CTF at spatial frequencies.

    **Arguments:** `frequency`: `(kx, ky)` in cycles/Å, shape `(..., p, 2)`; batch axes broadcast
    with those of `parameters`. `contrast`: `"white"` for RELION's sign (a positive map gives
    white particles), `"dark"` for its negative. `aberration`: more even phase, added to χ, in
    turns, of the shape of the result.

    **Returns:** `scale · exp(−B k²/4) · (√(1−w²) sin χ + w cos χ)`, shape `(..., p)`.

    **Source:** `χ = πλ Δf(θ) k² − ½π Cs λ³ k⁴ + φ`,
    `Δf(θ) = ½[U + V + (U − V) cos 2(θ − θ_ast)]`.
    """
    frequency, fields = _with_batch(frequency, parameters)
    w, plate, bfactor, scale = fields[5:]
    # √(1−w²) sin χ + w cos χ = sin(χ + arcsin w): one sine in place of three functions.
    turns = _phase(frequency, fields, plate / 360 + jnp.arcsin(w) / (2 * np.pi))
    if aberration is not None:
        turns = turns + aberration
    square = jnp.sum(frequency * frequency, axis=-1)
    value = sine_of_turns(turns) * scale * jnp.exp(-0.25 * bfactor * square)
    return value if contrast == "white" else -value

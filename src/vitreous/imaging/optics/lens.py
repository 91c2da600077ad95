"""The optics of images: defocus, aberrations, envelope and dose, any batch of them.

`χ`, signs and units are those of `imaging.ctf`; further aberrations are RELION's.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from vitreous.geometry.waves import wave_of_turns
from vitreous.imaging.ctf import (
    Contrast,
    CTFParameters,
    envelope,
    evaluate_ctf,
    interaction_factor,
    phase_turns,
)
from vitreous.imaging.dose import dose_decay
from vitreous.imaging.operators import Numbers, as_real
from vitreous.imaging.optics.aberrations import beam_tilt_phase, even_phase, odd_phase


class Optics(eqx.Module):
    """Hold the optics of any batch of images; fields are numbers or have the batch's shape.

    **Fields:** `defocus_u`, `defocus_v` (Å, underfocus positive), `defocus_angle` (degrees from +x
    towards +y), `voltage` (kV), `spherical_aberration` (mm), `amplitude_contrast` (0..1),
    `phase_shift` (degrees), `bfactor` (Å²), `scale`. If not `None`: `dose` (e/Å² received),
    `beam_tilt` `(..., 2)` (mrad), `odd_zernike` `(..., c)` and `even_zernike` `(..., c)` (radians,
    RELION's order), `magnification` `(..., 2, 2)`: the matrix that takes frequencies of the image
    to those of the specimen. `contrast`: `"white"` particles (RELION) or `"dark"` ones (physics).
    """

    defocus_u: Float[Array, "..."]
    defocus_v: Float[Array, "..."]
    defocus_angle: Float[Array, "..."]
    voltage: Float[Array, "..."]
    spherical_aberration: Float[Array, "..."]
    amplitude_contrast: Float[Array, "..."]
    phase_shift: Float[Array, "..."]
    bfactor: Float[Array, "..."]
    scale: Float[Array, "..."]
    dose: Float[Array, "..."] | None
    beam_tilt: Float[Array, "... 2"] | None
    odd_zernike: Float[Array, "... c"] | None
    even_zernike: Float[Array, "... e"] | None
    magnification: Float[Array, "... 2 2"] | None
    contrast: Contrast = eqx.field(static=True)

    def __init__(
        self,
        defocus_u: Numbers = 10000.0,
        defocus_v: Numbers | None = None,
        defocus_angle: Numbers = 0.0,
        voltage: Numbers = 300.0,
        spherical_aberration: Numbers = 2.7,
        amplitude_contrast: Numbers = 0.1,
        phase_shift: Numbers = 0.0,
        bfactor: Numbers = 0.0,
        scale: Numbers = 1.0,
        *,
        dose: Numbers | None = None,
        beam_tilt: Numbers | None = None,
        odd_zernike: Numbers | None = None,
        even_zernike: Numbers | None = None,
        magnification: Numbers | None = None,
        contrast: Contrast = "white",
    ) -> None:
        self.defocus_u = as_real(defocus_u)
        self.defocus_v = self.defocus_u if defocus_v is None else as_real(defocus_v)
        self.defocus_angle = as_real(defocus_angle)
        self.voltage = as_real(voltage)
        self.spherical_aberration = as_real(spherical_aberration)
        self.amplitude_contrast = as_real(amplitude_contrast)
        self.phase_shift = as_real(phase_shift)
        self.bfactor = as_real(bfactor)
        self.scale = as_real(scale)
        self.dose = None if dose is None else as_real(dose)
        self.beam_tilt = None if beam_tilt is None else as_real(beam_tilt)
        self.odd_zernike = None if odd_zernike is None else as_real(odd_zernike)
        self.even_zernike = None if even_zernike is None else as_real(even_zernike)
        self.magnification = None if magnification is None else as_real(magnification)
        self.contrast = contrast

    @staticmethod
    def from_parameters(parameters: CTFParameters, contrast: Contrast = "white") -> "Optics":
        """Take the CTF of a particle table (`table.ctf`)."""
        return Optics(*parameters, contrast=contrast)

    def parameters(self, z_offset: Float[Array, "..."] | None = None) -> CTFParameters:
        """Return the parameters of the CTF; a particle's height (Å) adds to both defoci."""
        u, v = self.defocus_u, self.defocus_v
        if z_offset is not None:
            u, v = u + z_offset, v + z_offset
        return CTFParameters(
            u,
            v,
            self.defocus_angle,
            self.voltage,
            self.spherical_aberration,
            self.amplitude_contrast,
            self.phase_shift,
            self.bfactor,
            self.scale,
        )

    @property
    def interaction(self) -> Float[Array, "..."]:
        """Return `λγ` in Å, which turns beam integrals of the potential into phases (radians)."""
        return interaction_factor(self.voltage)

    def at_specimen(self, frequency: Float[Array, "... p 2"]) -> Float[Array, "... p 2"]:
        """Map frequencies of the image to those of the specimen, `M k`."""
        if self.magnification is None:
            return frequency
        batch = jnp.broadcast_shapes(self.magnification.shape[:-2], frequency.shape[:-2])
        frequency = _batched(frequency, batch, 2)
        matrix = _batched(self.magnification, batch, 2)
        return jnp.einsum("...ij,...pj->...pi", matrix, frequency, precision="highest")

    def distorted(self, rotation: Float[Array, "... 3 3"]) -> Float[Array, "... 3 3"]:
        """Return the matrix, no longer a rotation, whose slices have the magnification in them.

        A slice lies at `Rᵀ (kx, ky, 0)`; with `diag(Mᵀ, 1) R` for R it lies at `Rᵀ (M k, 0)`.
        """
        if self.magnification is None:
            return rotation
        batch = jnp.broadcast_shapes(self.magnification.shape[:-2], rotation.shape[:-2])
        matrix = _batched(self.magnification, batch, 2)
        rotation = _batched(rotation, batch, 2)
        plane = jnp.einsum("...ji,...jk->...ik", matrix, rotation[..., :2, :], precision="highest")
        return jnp.concatenate([plane, rotation[..., 2:, :]], axis=-2)

    def ctf(
        self,
        frequency: Float[Array, "... p 2"],
        z_offset: Float[Array, "..."] | None = None,
        contrast: Contrast | None = None,
    ) -> Float[Array, "... p"]:
        """Evaluate the CTF at frequencies of the image, with even aberrations, envelope and dose.

        **Arguments:** `frequency`: `(kx, ky)` in cycles/Å. `z_offset`: height of the particle, Å.
        `contrast`: in place of the optics' own.

        **Returns:** one value a frequency; leading axes are those of frequencies and optics.
        """
        parameters = self.parameters(z_offset)
        if self.even_zernike is None and self.dose is None:
            k = self.at_specimen(frequency)
        else:
            k = self._expanded(frequency, parameters)
        even = None if self.even_zernike is None else self._even_turns(k)
        value = evaluate_ctf(k, parameters, contrast or self.contrast, even)
        return value if self.dose is None else value * self._decay(k)

    def odd_factor(self, frequency: Float[Array, "... p 2"]) -> Complex[Array, "... p"] | None:
        """Return the factor of beam tilt and odd aberrations on an image, or `None` without any."""
        if self.beam_tilt is None and self.odd_zernike is None:
            return None
        return wave_of_turns(self._odd_turns(self._expanded(frequency, self.parameters())))

    def wave_transfer(
        self, frequency: Float[Array, "... p 2"], z_offset: Float[Array, "..."] | None = None
    ) -> Complex[Array, "... p"]:
        """Return what the lens does to a scattered wave, `envelope · exp(iχ)`, odd phases included.

        **Arguments:** `frequency`: of the whole plane, in cycles/Å.
        """
        parameters = self.parameters(z_offset)
        k = self._expanded(frequency, parameters)
        turns = phase_turns(k, parameters)
        if self.even_zernike is not None:
            turns = turns + self._even_turns(k)
        if self.beam_tilt is not None or self.odd_zernike is not None:
            turns = turns + self._odd_turns(k)
        amplitude = envelope(k, parameters)
        if self.dose is not None:
            amplitude = amplitude * self._decay(k)
        wave = wave_of_turns(turns)
        return amplitude.astype(wave.dtype) * wave

    def _expanded(
        self, frequency: Float[Array, "... p 2"], parameters: CTFParameters
    ) -> Float[Array, "... p 2"]:
        """Give frequencies at the specimen the leading axes of all that is batched."""
        k = self.at_specimen(frequency)
        shapes = [k.shape[:-2], *(np.shape(field) for field in parameters)]
        shapes += [np.shape(self.dose)] if self.dose is not None else []
        for field in (self.beam_tilt, self.odd_zernike, self.even_zernike):
            shapes += [field.shape[:-1]] if field is not None else []
        return _batched(k, jnp.broadcast_shapes(*shapes), 2)

    def _decay(self, k: Float[Array, "... p 2"]) -> Float[Array, "... p"]:
        batch = k.shape[:-2]
        return dose_decay(k, _batched(self.dose, batch, 0), _batched(self.voltage, batch, 0))

    def _even_turns(self, k: Float[Array, "... p 2"]) -> Float[Array, "... p"]:
        return even_phase(k, _batched(self.even_zernike, k.shape[:-2], 1))

    def _odd_turns(self, k: Float[Array, "... p 2"]) -> Float[Array, "... p"]:
        batch, turns = k.shape[:-2], jnp.zeros((), k.dtype)
        if self.beam_tilt is not None:
            voltage = _batched(self.voltage, batch, 0)
            cs = _batched(self.spherical_aberration, batch, 0)
            turns = beam_tilt_phase(k, _batched(self.beam_tilt, batch, 1), voltage, cs)
        if self.odd_zernike is not None:
            turns = turns + odd_phase(k, _batched(self.odd_zernike, batch, 1))
        return turns


def _batched(field: Array | None, batch: tuple[int, ...], own: int) -> Array:
    """Give an array, whose last `own` axes are its own, certain leading axes."""
    assert field is not None
    return jnp.broadcast_to(field, (*batch, *field.shape[field.ndim - own :]))

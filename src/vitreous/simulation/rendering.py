"""From drawn particles to images: projection, CTF, shift and noise, batch by batch.

Every random choice of a particle belongs to its number, not to its batch: a set is the same
however it is cut into batches. Signals are band-limited to the Nyquist circle.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int

from vitreous.errors import InputError
from vitreous.geometry.fourier import half_plane, image_from_half_plane
from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.geometry.shift import phase_shift
from vitreous.imaging.ctf import Contrast, CTFParameters, evaluate_ctf, interaction_factor
from vitreous.imaging.ice import parkhurst_spectrum
from vitreous.imaging.noise import noise_deviation, white_noise
from vitreous.simulation.counting import (
    Counting,
    contrast_of_sum,
    count_electrons,
    counting_deviation,
)
from vitreous.simulation.population import ParticleOptions, Particles
from vitreous.simulation.specimen import Specimen

# Ice has random streams of its own, apart from those of the noise; its spectrum's voltage cancels.
_ICE_STREAM, _ICE_VOLTAGE = 2**32 - 1, 300.0


class _Rows(NamedTuple):
    """One batch of `Particles`, on the device, with the number of each particle."""

    number: Int[Array, " b"]
    state: Int[Array, " b"]
    coordinate: Float[Array, " b"]
    rotation: Float[Array, "b 3 3"]
    shift: Float[Array, "b 2"]
    ctf: CTFParameters | None


class Exposure(NamedTuple):
    """What chance adds to an image, besides the seed: ice, then noise or counting.

    Fields: `deviation`: of white noise, 0 for none. `electrons`: a pixel, counted in place of white
    noise, None for no counting; then `deviation` is what the counting amounts to. `counting`: how.
    `ice`: Å of thickness, 0 for none.
    """

    deviation: float = 0.0
    electrons: float | None = None
    counting: Counting = "poisson"
    ice: float = 0.0


def _signal(
    specimen: Specimen,
    rows: _Rows,
    ice: Complex[Array, "b p"] | None,
    box: int,
    pixel_size: float,
    contrast: Contrast,
) -> Float[Array, "b n n"]:
    pixels = FourierPixels(box, (box - 1) // 2, min_shell=0)
    k = jnp.asarray(pixels.frequency) / (box * pixel_size)
    values = specimen.project(rows.rotation, rows.state, rows.coordinate, pixels)
    values = values * phase_shift(k, rows.shift)
    if ice is not None:
        values = values + ice
    if rows.ctf is not None:
        values = values * evaluate_ctf(k, rows.ctf, contrast).astype(values.dtype)
    elif contrast == "dark":
        values = -values
    return image_from_half_plane(pixels.scatter(values), box)


@partial(jax.jit, static_argnames=("contrast", "box", "pixel_size"))
def render(
    specimen: Specimen, rows: _Rows, *, box: int, pixel_size: float, contrast: Contrast
) -> Float[Array, "b n n"]:
    """Make noiseless images: project, apply the CTF, shift."""
    return _signal(specimen, rows, None, box, pixel_size, contrast)


@partial(jax.jit, static_argnames=("counting", "has_ice", "contrast", "box", "pixel_size"))
def _expose(
    specimen: Specimen,
    rows: _Rows,
    key: jax.Array,
    level: Float[Array, ""],
    thickness: Float[Array, ""],
    *,
    counting: Counting | None,
    has_ice: bool,
    box: int,
    pixel_size: float,
    contrast: Contrast,
) -> Float[Array, "b n n"]:
    """Make images with ice and noise; `level` is the noise's deviation, or electrons a pixel."""
    ice = None
    if has_ice:
        pixels = FourierPixels(box, (box - 1) // 2, min_shell=0)
        white = white_noise(jax.random.fold_in(key, _ICE_STREAM), rows.number, box)
        k = jnp.asarray(pixels.frequency) / (box * pixel_size)
        amplitude = ice_amplitude(k, pixel_size) * jnp.sqrt(thickness)
        ice = pixels.gather(half_plane(white)) * amplitude[None].astype(jnp.complex64)
    if counting is None:
        images = _signal(specimen, rows, ice, box, pixel_size, contrast)
        return images + level * white_noise(key, rows.number, box)
    if rows.ctf is None:
        raise ValueError("electrons are counted behind a lens: give a CTF")
    images = _signal(specimen, rows, ice, box, pixel_size, "white")
    scale = contrast_of_sum(jnp.asarray(rows.ctf.voltage), pixel_size)
    counted = count_electrons(key, rows.number, images, scale, level, counting)
    return counted if contrast == "white" else -counted


def expose(
    specimen: Specimen, rows: _Rows, key: jax.Array, exposure: Exposure, **settings: Any
) -> Float[Array, "b n n"]:
    """Make images as a camera would record them: `render` with ice and noise."""
    is_counted = exposure.electrons is not None
    level = exposure.electrons if is_counted else exposure.deviation
    return _expose(
        specimen,
        rows,
        key,
        jnp.float32(level),
        jnp.float32(exposure.ice),
        counting=exposure.counting if is_counted else None,
        has_ice=exposure.ice > 0,
        **settings,
    )


def ice_amplitude(frequency: Float[Array, "... 2"], pixel_size: float) -> Float[Array, "..."]:
    """Return what turns white noise into an Å of ice, in units of `Σ_z U`.

    **Arguments:** `frequency`: cycles/Å. `pixel_size`: Å, of the noise and of one term of the sum.

    The spectrum is of phases, `λγ ∫U dz`; the voltage cancels.
    """
    spectrum = parkhurst_spectrum(_ICE_VOLTAGE)(frequency)
    phase = pixel_size * interaction_factor(np.array([_ICE_VOLTAGE])).item()
    return jnp.sqrt(spectrum) / (pixel_size * phase)


def _rows(particles: Particles, number: Int[np.ndarray, " b"]) -> _Rows:
    coordinate = particles.coordinate
    if coordinate is None:
        coordinate = np.zeros(len(particles.state), np.float32)
    ctf = particles.ctf
    if ctf is not None:
        ctf = CTFParameters(*(jnp.asarray(np.asarray(column)[number]) for column in ctf))
    return _Rows(
        jnp.asarray(number, jnp.int32),
        jnp.asarray(particles.state[number]),
        jnp.asarray(coordinate[number]),
        jnp.asarray(particles.rotation[number]),
        jnp.asarray(particles.shift[number]),
        ctf,
    )


def _batches(count: int, size: int) -> Iterator[np.ndarray]:
    """Cut the particle numbers into batches of one size; the last repeats its last particle."""
    for first in range(0, count, size):
        yield np.minimum(np.arange(first, first + size), count - 1)


def plan_exposure(specimen: Specimen, particles: Particles, options: ParticleOptions) -> Exposure:
    """Settle noise and counting, from up to 400 clean images of the set.

    **Raises:** `InputError` if a pixel would lose more electrons than it gets.
    """
    ice = options.ice
    if options.dose is not None:
        assert particles.ctf is not None
        voltage = np.asarray(particles.ctf.voltage, np.float64)
        equivalent = counting_deviation(voltage, specimen.pixel_size, options.dose)
        signal = _clean_sample(specimen, particles, options)
        largest = signal.max() if options.contrast == "white" else -signal.min()
        taken = float(largest * np.max(contrast_of_sum(voltage, specimen.pixel_size)))
        if taken > 1:
            raise InputError(
                f"--dose: a pixel would lose {taken:.3g} times the electrons it gets, a negative "
                "Poisson rate; the map's values are no potential in Å⁻²: give --snr in place of "
                "--dose, or a structure"
            )
        electrons = options.dose * specimen.pixel_size**2
        return Exposure(float(np.mean(equivalent)), electrons, options.counting, ice)
    if options.snr is None:
        return Exposure(ice=ice)
    signal = _clean_sample(specimen, particles, options)
    radius = options.mask_radius
    if radius is not None:
        radius = radius / specimen.pixel_size
    deviation = noise_deviation(signal, options.snr, options.snr_definition, radius)
    return Exposure(deviation, ice=ice)


def _clean_sample(
    specimen: Specimen, particles: Particles, options: ParticleOptions
) -> Float[np.ndarray, "b n n"]:
    count = len(particles.state)
    settings = _settings(specimen, options)
    chosen = np.unique(np.linspace(0, count - 1, min(count, 400)).astype(np.int64))
    clean = [
        np.asarray(render(specimen, _rows(particles, chosen[number]), **settings))
        for number in _batches(len(chosen), min(options.batch, count))
    ]
    return np.concatenate(clean)[: len(chosen)]


def _settings(specimen: Specimen, options: ParticleOptions) -> dict[str, Any]:
    return {
        "box": specimen.box,
        "pixel_size": specimen.pixel_size,
        "contrast": options.contrast,
    }


class Renderer:
    """Make the images of a set, batch by batch, on a device that works ahead.

    Batches are cut at the same numbers however the set is divided among files and programs, and
    hold as many images each: an image is the same bit for bit wherever it is made.
    """

    def __init__(
        self,
        specimen: Specimen,
        particles: Particles,
        options: ParticleOptions,
        exposure: Exposure,
    ) -> None:
        self._specimen, self._particles, self._exposure = specimen, particles, exposure
        self._count = len(particles.state)
        self.batch = min(options.batch, self._count)
        self._key = jax.random.key(options.seed)
        self._settings = _settings(specimen, options)

    def start(self, batch: int) -> Float[Array, "b n n"]:
        """Let the device begin a batch, counted from 0; the last repeats its last particle."""
        first = batch * self.batch
        number = np.minimum(np.arange(first, first + self.batch), self._count - 1)
        rows = _rows(self._particles, number)
        if self._exposure == Exposure():
            return render(self._specimen, rows, **self._settings)
        return expose(self._specimen, rows, self._key, self._exposure, **self._settings)

    def images(self, first: int, stop: int) -> Iterator[tuple[int, Float[np.ndarray, "b n n"]]]:
        """Give the images of some particles in order, each batch with its first number."""
        batches = range(first // self.batch, -(-stop // self.batch)) if stop > first else range(0)
        ahead = self.start(batches[0]) if batches else None
        for batch in batches:
            following = self.start(batch + 1) if batch + 1 in batches else None
            start = max(first, batch * self.batch)
            end = min(stop, (batch + 1) * self.batch)
            assert ahead is not None
            yield start, np.asarray(ahead)[start - batch * self.batch : end - batch * self.batch]
            ahead = following

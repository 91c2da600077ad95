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
from jaxtyping import Array, Float, Int

from vitreous.geometry.fourier import image_from_half_plane
from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.geometry.shift import phase_shift
from vitreous.imaging.ctf import Contrast, CTFParameters, evaluate_ctf
from vitreous.imaging.noise import noise_deviation, white_noise
from vitreous.simulation.population import ParticleOptions, Particles
from vitreous.simulation.specimen import Specimen


class _Rows(NamedTuple):
    """One batch of `Particles`, on the device, with the number of each particle."""

    number: Int[Array, " b"]
    state: Int[Array, " b"]
    coordinate: Float[Array, " b"]
    rotation: Float[Array, "b 3 3"]
    shift: Float[Array, "b 2"]
    ctf: CTFParameters | None


@partial(jax.jit, static_argnames=("contrast", "box", "pixel_size"))
def render(
    specimen: Specimen, rows: _Rows, *, box: int, pixel_size: float, contrast: Contrast
) -> Float[Array, "b n n"]:
    """Make noiseless images: project, apply the CTF, shift."""
    pixels = FourierPixels(box, (box - 1) // 2, min_shell=0)
    k = jnp.asarray(pixels.frequency) / (box * pixel_size)
    values = specimen.project(rows.rotation, rows.state, rows.coordinate, pixels)
    values = values * phase_shift(k, rows.shift)
    if rows.ctf is not None:
        values = values * evaluate_ctf(k, rows.ctf, contrast).astype(values.dtype)
    elif contrast == "dark":
        values = -values
    return image_from_half_plane(pixels.scatter(values), box)


@partial(jax.jit, static_argnames=("contrast", "box", "pixel_size"))
def _render_noisy(
    specimen: Specimen,
    rows: _Rows,
    key: jax.Array,
    deviation: Float[Array, ""],
    **settings,
) -> Float[Array, "b n n"]:
    images = render(specimen, rows, **settings)
    return images + deviation * white_noise(key, rows.number, images.shape[-1])


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


def measure_noise(specimen: Specimen, particles: Particles, options: ParticleOptions) -> float:
    """Find the noise that gives the wanted ratio, from up to 400 clean images of the set."""
    if options.snr is None:
        return 0.0
    count = len(particles.state)
    settings = _settings(specimen, options)
    chosen = np.unique(np.linspace(0, count - 1, min(count, 400)).astype(np.int64))
    clean = [
        np.asarray(render(specimen, _rows(particles, chosen[number]), **settings))
        for number in _batches(len(chosen), min(options.batch, count))
    ]
    signal = np.concatenate(clean)[: len(chosen)]
    radius = options.mask_radius
    if radius is not None:
        radius = radius / specimen.pixel_size
    return noise_deviation(signal, options.snr, options.snr_definition, radius)


def _settings(specimen: Specimen, options: ParticleOptions) -> dict[str, Any]:
    return {
        "box": specimen.box,
        "pixel_size": specimen.pixel_size,
        "contrast": options.contrast,
    }


def particle_images(
    specimen: Specimen, particles: Particles, options: ParticleOptions, deviation: float
) -> Iterator[Float[np.ndarray, "b n n"]]:
    """Give the images batch by batch, in order; the device computes one batch ahead."""
    count = len(particles.state)
    size = min(options.batch, count)
    key = jax.random.key(options.seed)
    settings = _settings(specimen, options)
    ahead: tuple[jax.Array, int] | None = None
    for number in _batches(count, size):
        rows = _rows(particles, number)
        if deviation > 0:
            images = _render_noisy(specimen, rows, key, jnp.float32(deviation), **settings)
        else:
            images = render(specimen, rows, **settings)
        if ahead is not None:
            yield np.asarray(ahead[0])[: ahead[1]]
        ahead = images, min(size, count - int(number[0]))
    if ahead is not None:
        yield np.asarray(ahead[0])[: ahead[1]]

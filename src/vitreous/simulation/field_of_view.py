"""One simulated field of view: particles at their places and heights in ice, behind one lens.

Everything at nearly one height is summed before the lens and shares a defocus, so that the CTF of
a particle reaches as far as it does in a microscope, over its neighbours.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int
from scipy.fft import next_fast_len

from vitreous.geometry.fourier import image_from_half_plane
from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.geometry.rectangle import rectangle_frequencies
from vitreous.geometry.shift import phase_shift
from vitreous.imaging.ctf import CTFParameters, electron_wavelength, evaluate_ctf
from vitreous.simulation.field_truth import FieldTruth
from vitreous.simulation.micrograph_options import MicrographOptions
from vitreous.simulation.rendering import ice_amplitude
from vitreous.simulation.specimen import Specimen

# Largest error of the phase χ at the Nyquist frequency that a shared defocus may make, radians.
_PHASE_ERROR = 0.1
_MOST_SLABS = 200
_BATCH = 32


@partial(jax.jit, static_argnames=("box",))
def _views(
    specimen: Any,
    rotation: Float[Array, "b 3 3"],
    state: Int[Array, " b"],
    coordinate: Float[Array, " b"],
    shift: Float[Array, "b 2"],
    *,
    box: int,
) -> Float[Array, "b n n"]:
    """Project particles, moved by fractions of a pixel, without a CTF."""
    pixels = FourierPixels(box, (box - 1) // 2, min_shell=0)
    values = specimen.project(rotation, state, coordinate, pixels)
    values = values * phase_shift(jnp.asarray(pixels.frequency) / box, shift)
    return image_from_half_plane(pixels.scatter(values), box)


class Signal(NamedTuple):
    """Hold a clean field of view in units of `Σ_z U`, white particles: `molecules` and `ice`."""

    molecules: Float32[np.ndarray, "h w"]
    ice: Float32[np.ndarray, "h w"]


def image_field(
    specimen: Specimen, truth: FieldTruth, options: MicrographOptions, number: int
) -> Signal:
    """Project the particles, lay them into slabs of ice, and look at these through the lens."""
    width, height = options.size
    pixel_size = specimen.pixel_size
    margin = specimen.box // 2 + _delocalisation(truth.ctf, pixel_size)
    shape = tuple(next_fast_len(side + 2 * margin, real=True) for side in (height, width))
    slab, middles = _slabs(truth, options, pixel_size)
    views = _project_all(specimen, truth)
    k = jnp.asarray(rectangle_frequencies((shape[0], shape[1]))) / pixel_size
    molecules = jnp.zeros(k.shape[:2], jnp.complex64)
    ice = molecules
    amplitude = ice_amplitude(k, pixel_size) * float(np.sqrt(options.ice / len(middles)))
    rng = np.random.default_rng(np.random.SeedSequence([options.seed, number, 1]))
    for index, middle in enumerate(middles.tolist()):
        ctf = _ctf_at(truth.ctf, middle, k)
        inside_slab = slab == index
        if inside_slab.any():
            layer = _lay(views[inside_slab], truth.place[inside_slab], shape, margin)
            molecules = molecules + jnp.fft.rfft2(jnp.asarray(layer)) * ctf.astype(jnp.complex64)
        if options.ice > 0:
            white = jnp.asarray(rng.standard_normal(shape, np.float32))
            ice = ice + jnp.fft.rfft2(white) * (amplitude * ctf).astype(jnp.complex64)

    def inside(half: Array) -> np.ndarray:
        image = np.asarray(jnp.fft.irfft2(half, s=(shape[0], shape[1])))
        return image[margin : margin + height, margin : margin + width]

    return Signal(inside(molecules), inside(ice))


def _delocalisation(ctf: CTFParameters | None, pixel_size: float) -> int:
    """Return how far the lens spreads the finest detail, pixels, but no more than 512."""
    if ctf is None:
        return 0
    far = _wavelength(ctf) * abs(float(ctf.defocus_u)) * 0.5 / pixel_size
    return min(512, int(np.ceil(far / pixel_size)))


def _wavelength(ctf: CTFParameters) -> float:
    return electron_wavelength(np.asarray(ctf.voltage, np.float64).reshape(1)).item()


def _slabs(
    truth: FieldTruth, options: MicrographOptions, pixel_size: float
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " s"]]:
    """Cut the ice into slabs thin enough to share a defocus; say in which each particle lies."""
    depth = options.ice if options.depth is None else options.depth
    if truth.ctf is None or depth == 0:
        return np.zeros(len(truth.height), np.int64), np.zeros(1)
    thinnest = 2 * _PHASE_ERROR / (np.pi * _wavelength(truth.ctf) * (0.5 / pixel_size) ** 2)
    count = int(np.clip(np.ceil(depth / thinnest), 1, _MOST_SLABS))
    slab = np.clip(((truth.height / depth + 0.5) * count).astype(np.int64), 0, count - 1)
    return slab, ((np.arange(count) + 0.5) / count - 0.5) * depth


def _project_all(specimen: Specimen, truth: FieldTruth) -> Float32[np.ndarray, "p n n"]:
    """Project every particle, moved by what its place exceeds a whole pixel."""
    count = len(truth.height)
    part = (truth.place - np.rint(truth.place)).astype(np.float32)
    coordinate = np.zeros(count, np.float32) if truth.coordinate is None else truth.coordinate
    views = np.empty((count, specimen.box, specimen.box), np.float32)
    for first in range(0, count, _BATCH):
        rows = np.minimum(np.arange(first, first + _BATCH), count - 1)
        columns = (truth.rotation, truth.state, coordinate, part)
        batch = _views(specimen, *(jnp.asarray(c[rows]) for c in columns), box=specimen.box)
        views[first : first + _BATCH] = np.asarray(batch)[: count - first]
    return views


def _lay(
    views: Float32[np.ndarray, "p n n"],
    places: Float[np.ndarray, "p 2"],
    shape: tuple[int, ...],
    margin: int,
) -> Float32[np.ndarray, "h w"]:
    """Add projections to an empty slab; what lies beyond the margin is cut off."""
    layer = np.zeros(shape, np.float32)
    box = views.shape[-1]
    corners = np.rint(places).astype(np.int64)[:, ::-1] + margin - box // 2
    for view, corner in zip(views, corners, strict=True):
        low, high = np.maximum(corner, 0), np.minimum(corner + box, shape)
        (top, left), (bottom, right) = low - corner, high - corner
        layer[low[0] : high[0], low[1] : high[1]] += view[top:bottom, left:right]
    return layer


def _ctf_at(
    ctf: CTFParameters | None, height: float, k: Float[Array, "h c 2"]
) -> Float[Array, "h c"]:
    if ctf is None:
        return jnp.ones(k.shape[:2])
    one = CTFParameters(*(jnp.asarray(float(field), jnp.float32) for field in ctf))
    here = one._replace(defocus_u=one.defocus_u + height, defocus_v=one.defocus_v + height)
    return evaluate_ctf(k.reshape(-1, 2), here).reshape(k.shape[:2])

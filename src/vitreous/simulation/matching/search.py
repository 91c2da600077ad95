"""The search itself: correlate a micrograph with every view of a template, pixel by pixel.

For each orientation the template is projected once and transformed once; CTF and whitening of
each defocus are folded into the micrograph beforehand, so a view costs one inverse transform. A
correlation is divided by the norm of its filtered view: where there is only noise it is a standard
normal value, and where a particle lies it is the square root of the particle's power over the
noise's.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float, Int

from vitreous.geometry.fourier import image_from_half_plane
from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.geometry.rectangle import rectangle_weights
from vitreous.simulation.specimen import Specimen

# The histogram of correlations, taken on every pixel of a coarse lattice: lowest bin edge, width.
HISTOGRAM_START, HISTOGRAM_STEP, HISTOGRAM_BINS = -12.0, 0.05, 720
_HISTOGRAM_PIXELS = 1 << 14


class Target(NamedTuple):
    """Hold a micrograph as views meet it, for each defocus of the search.

    Fields: `transform`: whitened half plane times CTF and whitening again. `weight`: squared CTF
    and whitening times the half-plane weight over the pixel count, for the norm of views.
    `sample`: the places, in a flat map, whose correlations are counted in the histogram.
    """

    transform: Complex[Array, "d h c"]
    weight: Float[Array, "d h c"]
    sample: Int[Array, " s"]


class Maps(NamedTuple):
    """Hold what is known of each pixel so far; its origin is the corner of the template's box.

    Fields: `best`: the largest correlation. `view`: the number of that view, `orientation ·
    defoci + defocus`. `total`, `squares`: sums over all views. `histogram`: of a sample of all
    correlations.
    """

    best: Float[Array, "h w"]
    view: Int[Array, "h w"]
    total: Float[Array, "h w"]
    squares: Float[Array, "h w"]
    histogram: Float[Array, " bins"]


def make_target(
    whitened: Float[np.ndarray, "h w"],
    whitening: Float[np.ndarray, "h c"],
    ctf: Float[np.ndarray, "d h c"],
    shape: tuple[int, int],
    box: int,
) -> Target:
    """Fold the filters of each defocus into a whitened micrograph.

    **Arguments:** `whitened`: mean 0, power 1 at every frequency that counts. `whitening`: the
    factor that made it so. `ctf`: with the sign of the particles. `shape`: of the micrograph
    before it was padded. `box`: of the template.
    """
    inside = np.zeros(whitened.shape, bool)
    inside[: shape[0], : shape[1]] = True
    places = np.flatnonzero(np.roll(inside, (-(box // 2), -(box // 2)), axis=(0, 1)))
    sample = places[:: max(1, len(places) // _HISTOGRAM_PIXELS)].astype(np.int32)
    filters = jnp.asarray(whitening * ctf, jnp.float32)
    transform = jnp.fft.rfft2(jnp.asarray(whitened, jnp.float32))
    weights = jnp.asarray(rectangle_weights(whitened.shape) / whitened.size, jnp.float32)
    return Target(
        transform[None] * filters.astype(jnp.complex64),
        filters**2 * weights[None, None],
        jnp.asarray(sample),
    )


def empty_maps(shape: tuple[int, int]) -> Maps:
    """Return the maps before the first view."""
    return Maps(
        jnp.full(shape, -jnp.inf),
        jnp.zeros(shape, jnp.int32),
        jnp.zeros(shape),
        jnp.zeros(shape),
        jnp.zeros(HISTOGRAM_BINS),
    )


def project_template(specimen: Specimen, rotation: Float[Array, "b 3 3"]) -> Float[Array, "b n n"]:
    """Project the template at some orientations, without CTF."""
    pixels = FourierPixels(specimen.box, (specimen.box - 1) // 2, min_shell=0)
    count = rotation.shape[0]
    nothing = jnp.zeros(count, jnp.int32), jnp.zeros(count)
    values = specimen.project(rotation, *nothing, pixels)
    return image_from_half_plane(pixels.scatter(values), specimen.box)


@partial(jax.jit, donate_argnums=(0,))
def search_views(
    maps: Maps,
    target: Target,
    specimen: Any,
    rotation: Float[Array, "g b 3 3"],
    number: Int[Array, "g b"],
    counts: Bool[Array, "g b"],
) -> Maps:
    """Try some orientations at every defocus, one group of them after the other.

    **Arguments:** `number`: of each orientation. `counts`: False for those that only fill up the
    last group.
    """
    flat = project_template(specimen, rotation.reshape(-1, 3, 3))
    views = flat.reshape(*number.shape, *flat.shape[1:])

    def try_group(maps: Maps, group: tuple[Array, Array, Array]) -> tuple[Maps, None]:
        return _try_views(maps, target, *group), None

    return jax.lax.scan(try_group, maps, (views, number, counts))[0]


def _try_views(
    maps: Maps,
    target: Target,
    views: Float[Array, "b n n"],
    number: Int[Array, " b"],
    counts: Bool[Array, " b"],
) -> Maps:
    shape = maps.best.shape
    defoci = target.transform.shape[0]
    transform = jnp.fft.rfft2(views, s=shape)
    power = transform.real**2 + transform.imag**2
    conjugate = jnp.conj(transform)

    def at_defocus(maps: Maps, folded: tuple[Array, Array, Array]) -> tuple[Maps, None]:
        micrograph, weight, defocus = folded
        norm = jnp.sum(power * weight[None], axis=(1, 2))
        scale = jnp.where((norm > 0) & counts, jax.lax.rsqrt(norm), 0)
        found = jnp.fft.irfft2(micrograph[None] * conjugate, s=shape) * scale[:, None, None]
        candidates = jnp.where(counts[:, None, None], found, -jnp.inf)
        winner = jnp.argmax(candidates, axis=0)
        largest = jnp.max(candidates, axis=0)
        is_better = largest > maps.best
        sample = jnp.ravel(found[0])[target.sample]
        bins = jnp.floor((sample - HISTOGRAM_START) / HISTOGRAM_STEP).astype(jnp.int32)
        bins = jnp.clip(bins, 0, HISTOGRAM_BINS - 1)
        return Maps(
            jnp.where(is_better, largest, maps.best),
            jnp.where(is_better, number[winner] * defoci + defocus, maps.view),
            maps.total + jnp.sum(found, axis=0),
            maps.squares + jnp.sum(found * found, axis=0),
            maps.histogram.at[bins].add(counts[0].astype(found.dtype)),
        ), None

    number_of_defocus = jnp.arange(defoci, dtype=jnp.int32)
    folded = (target.transform, target.weight, number_of_defocus)
    return jax.lax.scan(at_defocus, maps, folded)[0]

"""Search one micrograph for a template: filters, the loop over orientations, scores, peaks."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32
from scipy.fft import next_fast_len

from vitreous.errors import InputError
from vitreous.geometry.point_groups import point_group
from vitreous.geometry.rectangle import rectangle_frequencies
from vitreous.imaging.ctf import CTFParameters, evaluate_ctf
from vitreous.particles.memory import free_device_memory
from vitreous.particles.processes import least_of_processes, most_of_processes
from vitreous.simulation.fingerprint import fingerprint
from vitreous.simulation.matching.discrimination import share_kept, view_likeness
from vitreous.simulation.matching.found import Match
from vitreous.simulation.matching.options import MatchOptions
from vitreous.simulation.matching.orientations import angles_to_rotations, search_angles
from vitreous.simulation.matching.peaks import find_peaks, refine_peaks
from vitreous.simulation.matching.saved import read_maps, save_maps
from vitreous.simulation.matching.search import (
    Maps,
    Target,
    empty_maps,
    make_target,
)
from vitreous.simulation.matching.statistics import noise_threshold
from vitreous.simulation.matching.whitening import (
    apply_filter,
    ring_power,
    whitening_filter,
)
from vitreous.simulation.matching.workers import Workers
from vitreous.simulation.specimen import Specimen

logger = logging.getLogger(__name__)

# Scores are judged against their pixel's other views if there are so many of these, and a particle
# at the threshold keeps this share of its score.
_MANY_VIEWS, _LEAST_SHARE = 1000, 0.9
# Bytes a pixel that one orientation holds at work, and the share of memory they may take.
_BYTES, _SHARE = 40, 0.3
# Orientations at a time, at most: a CPU's caches hold one, an accelerator gains little from more.
_MOST_ON_CPU, _MOST = 1, 64
# Orientations a call of the device tries, at least.
_AT_LEAST = 8
# Seconds between two saves of a search.
_SAVE_INTERVAL = 60.0
# What a process wishes between two steps.
_GO_ON, _SAVE, _STOP = range(3)


@dataclass(frozen=True, eq=False)
class Search:
    """Hold a search that has been planned: what is tried, and where.

    Fields: `image`, `specimen`, `ctf`, `options` as given to `plan_search`. `angles` `(m, 3)`;
    `offsets` of defocus, Å. `word`: a fingerprint of all of it.
    """

    image: Float32[np.ndarray, "h w"]
    specimen: Specimen
    ctf: CTFParameters | None
    options: MatchOptions
    angles: Float[np.ndarray, "m 3"]
    offsets: Float[np.ndarray, " d"]
    word: str


def planned_angles(options: MatchOptions) -> Float[np.ndarray, "m 3"]:
    """Return the orientations that options ask for; see `search_angles`."""
    return search_angles(options.step, options.in_plane_step, point_group(options.symmetry))


def plan_search(
    image: Float32[np.ndarray, "h w"],
    specimen: Specimen,
    ctf: CTFParameters | None,
    options: MatchOptions | None = None,
    angles: Float[np.ndarray, "m 3"] | None = None,
) -> Search:
    """Settle what to try; arguments as of `match_template`.

    **Raises:** `InputError` if the template does not fit or options make no sense.
    """
    options = options or MatchOptions()
    options.check(specimen.pixel_size)
    if specimen.box > min(image.shape):
        raise InputError(
            f"the template's box of {specimen.box} pixels is larger than the micrograph of "
            f"{image.shape[1]}×{image.shape[0]}; take a smaller box (-D)"
        )
    angles = planned_angles(options) if angles is None else angles
    offsets = options.defocus_offsets() if ctf is not None else np.zeros(1)
    if len(angles) * len(offsets) >= 2**31:
        raise InputError(f"{len(angles) * len(offsets):,} views: take a larger --step")
    filters = options.finest, options.coarsest, options.contrast
    word = fingerprint(image, specimen, angles, offsets, ctf, filters)
    return Search(image, specimen, ctf, options, angles, offsets, word)


def match_template(
    image: Float32[np.ndarray, "h w"],
    specimen: Specimen,
    ctf: CTFParameters | None,
    options: MatchOptions | None = None,
    angles: Float[np.ndarray, "m 3"] | None = None,
) -> Match:
    """Search a micrograph for a template.

    **Arguments:** `image`: the micrograph, with the pixel size of `specimen`, whose first state is
    the template. `ctf`: of the micrograph, single numbers; None for images without. `angles`:
    orientations in place of the grid of `options`, `(rot, tilt, psi)`.

    **Raises:** `InputError` if the template does not fit or options make no sense.

    **Source:** Rickgauer, Grigorieff & Denk (2017) eLife 6, e25648; Lucas et al. (2021) eLife 10,
    e68946.
    """
    found = run_search(plan_search(image, specimen, ctf, options, angles))
    assert found is not None
    return found


def run_search(
    search: Search,
    *,
    progress: Callable[[int], object] = lambda orientations: None,
    saved: Path | None = None,
    should_stop: Callable[[], object] = lambda: False,
) -> Match | None:
    """Carry out a search, on all devices of all processes.

    **Arguments:** `progress`: called with the number of orientations tried since its last call.
    `saved`: a file in which the state is kept from time to time, and from which a search that was
    stopped or killed goes on. `should_stop`: asked between batches.

    **Returns:** what was found, or None if it was asked to stop (its state is saved then).
    """
    image, angles, options = search.image, search.angles, search.options
    shape = (
        next_fast_len(image.shape[0], real=True),
        next_fast_len(image.shape[1], real=True),
    )
    target = _make_target(search, shape)
    maps, done = empty_maps(shape), 0
    if saved is not None:
        maps, done = read_maps(saved, search.word, maps)
        progress(done)
    batch = options.batch or batch_for_memory(shape, len(angles))
    rotations = angles_to_rotations(angles)
    last_save = time.monotonic()
    workers = Workers(maps, target, search.specimen, batch * max(1, _AT_LEAST // batch), batch)
    while done < len(angles):
        before, done = done, workers.step(rotations, done)
        progress(done - before)
        wish = _GO_ON
        if saved is not None and time.monotonic() - last_save > _SAVE_INTERVAL:
            wish = _SAVE
        if should_stop():
            wish = _STOP
        # What one process wishes, all do.
        wish = most_of_processes(wish) if done < len(angles) else _GO_ON
        if saved is not None and wish > _GO_ON:
            save_maps(saved, search.word, workers.merged(), done)
            last_save = time.monotonic()
        if wish == _STOP:
            return None
    maps = workers.merged()
    return _finish(maps, search)


def batch_for_memory(shape: tuple[int, int], orientations: int) -> int:
    """Choose how many orientations to compare at a time, by the memory that is free."""
    devices = jax.local_devices()[:1]
    most = _MOST_ON_CPU if devices[0].platform == "cpu" else _MOST
    room = least_of_processes(free_device_memory(devices))
    fits = int(_SHARE * room / (_BYTES * shape[0] * shape[1]))
    return max(1, min(most, fits, orientations))


def _make_target(search: Search, shape: tuple[int, int]) -> Target:
    """Whiten the micrograph, pad it to a shape and fold in the filters of each defocus."""
    image, pixel_size, box = search.image, search.specimen.pixel_size, search.specimen.box
    noise, band = ring_power(image), search.options.band(pixel_size)
    whitened = apply_filter(image, whitening_filter(noise, image.shape, *band))
    missing = [(0, full - side) for full, side in zip(shape, image.shape, strict=True)]
    factor = whitening_filter(noise, shape, *band)
    k = jnp.asarray(rectangle_frequencies(shape)) / pixel_size
    contrast = search.options.contrast
    if search.ctf is None:
        ctf = np.full((1, *factor.shape), 1.0 if contrast == "white" else -1.0, np.float32)
        return make_target(np.pad(whitened, missing), factor, ctf, image.shape, box)
    one = CTFParameters(*(jnp.asarray(float(field), jnp.float32) for field in search.ctf))
    filters = []
    for offset in search.offsets.tolist():
        here = one._replace(defocus_u=one.defocus_u + offset, defocus_v=one.defocus_v + offset)
        values = evaluate_ctf(k.reshape(-1, 2), here, contrast)
        filters.append(np.asarray(values).reshape(factor.shape))
    return make_target(np.pad(whitened, missing), factor, np.stack(filters), image.shape, box)


def _finish(maps: Maps, search: Search) -> Match:
    box, options, offsets = search.specimen.box, search.options, search.offsets
    shape, angles, pixel_size = search.image.shape, search.angles, search.specimen.pixel_size

    def placed(column: np.ndarray) -> np.ndarray:
        # A view's centre is pixel box // 2 of its box, whose corner the correlation counts from.
        return np.roll(column, (box // 2, box // 2), axis=(0, 1))[: shape[0], : shape[1]]

    snr, view, total, squares = (placed(np.asarray(column)) for column in maps[:4])
    views = len(angles) * len(offsets)
    mean = total / views
    deviation = np.sqrt(np.maximum(squares / views - mean**2, 0))
    z = (snr - mean) / np.where(deviation > 0, deviation, 1)
    samples = float(views) * shape[0] * shape[1]
    threshold = noise_threshold(samples, options.false_positives)
    band = options.band(pixel_size)
    likeness = view_likeness(search.specimen, search.ctf, ring_power(search.image), *band)
    kept = share_kept(likeness, threshold)
    uses_z = options.score == "z"
    if options.score == "auto":
        uses_z = views >= _MANY_VIEWS and kept >= _LEAST_SHARE
    distance = options.distance if options.distance is not None else box * pixel_size / 2
    score = z if uses_z else snr
    peaks = find_peaks(score, threshold, distance / pixel_size)
    return Match(
        snr,
        view,
        mean,
        deviation,
        z.astype(np.float32),
        angles,
        offsets,
        samples,
        threshold,
        noise_threshold(samples),
        np.asarray(maps.histogram, np.float64),
        peaks,
        refine_peaks(score, peaks),
        uses_z,
        kept,
    )

"""Search one micrograph for a template: filters, the loop over orientations, scores, peaks."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32, Int
from scipy.fft import next_fast_len

from vitreous.errors import InputError
from vitreous.geometry.point_groups import point_group
from vitreous.geometry.rectangle import rectangle_frequencies
from vitreous.imaging.ctf import CTFParameters, evaluate_ctf
from vitreous.particles.memory import free_device_memory
from vitreous.simulation.fingerprint import fingerprint
from vitreous.simulation.matching.options import MatchOptions
from vitreous.simulation.matching.orientations import angles_to_rotations, search_angles
from vitreous.simulation.matching.peaks import find_peaks, refine_peaks
from vitreous.simulation.matching.saved import read_maps, save_maps
from vitreous.simulation.matching.search import Maps, empty_maps, make_target, search_views
from vitreous.simulation.matching.statistics import noise_threshold
from vitreous.simulation.matching.whitening import (
    apply_filter,
    ring_power,
    whitening_filter,
)
from vitreous.simulation.specimen import Specimen

logger = logging.getLogger(__name__)

# Views from which on the score of a particle is judged against its own pixel's mean.
_MANY_VIEWS = 10_000
# Bytes a pixel that one orientation holds at work, and the share of memory they may take.
_BYTES, _SHARE = 40, 0.3
# Orientations at a time, at most: a CPU's caches hold one, an accelerator gains little from more.
_MOST_ON_CPU, _MOST = 1, 64
# Seconds between two saves of a search.
_SAVE_INTERVAL = 60.0


@dataclass(frozen=True, eq=False)
class Match:
    """Hold what a search found.

    Fields, maps of the micrograph's shape: `snr`: the largest correlation; `view`: number of the
    view that gave it; `mean`, `deviation`: over all views; `z`: `(snr − mean) / deviation`. And:
    `angles` `(m, 3)` and `offsets` (Å of defocus): `view` is `orientation · len(offsets) +
    offset`. `samples`: correlations in all. `threshold`: of scores; `expected_maximum`: of noise.
    `histogram`: a sample of all correlations, see `search.HISTOGRAM_START`. `peaks`: `(row,
    column)`, the best first; `places`: the same between pixels. `uses_z`: which map they are in.
    """

    snr: Float32[np.ndarray, "h w"]
    view: Int[np.ndarray, "h w"]
    mean: Float32[np.ndarray, "h w"]
    deviation: Float32[np.ndarray, "h w"]
    z: Float32[np.ndarray, "h w"]
    angles: Float[np.ndarray, "m 3"]
    offsets: Float[np.ndarray, " d"]
    samples: float
    threshold: float
    expected_maximum: float
    histogram: Float[np.ndarray, " bins"]
    peaks: Int[np.ndarray, "p 2"]
    places: Float[np.ndarray, "p 2"]
    uses_z: bool

    @property
    def score(self) -> Float32[np.ndarray, "h w"]:
        """The map in which peaks were found."""
        return self.z if self.uses_z else self.snr

    def best_angles(self) -> Float32[np.ndarray, "3 h w"]:
        """Return rot, tilt and psi of each pixel's best view, degrees."""
        return np.moveaxis(self.angles.astype(np.float32)[self.view // len(self.offsets)], -1, 0)

    def best_offset(self) -> Float32[np.ndarray, "h w"]:
        """Return what each pixel's best view adds to the defocus, Å."""
        return self.offsets.astype(np.float32)[self.view % len(self.offsets)]


def match_template(
    image: Float32[np.ndarray, "h w"],
    specimen: Specimen,
    ctf: CTFParameters | None,
    options: MatchOptions | None = None,
    *,
    angles: Float[np.ndarray, "m 3"] | None = None,
    progress: Callable[[int], object] = lambda orientations: None,
    saved: Path | None = None,
    should_stop: Callable[[], object] = lambda: False,
) -> Match | None:
    """Search a micrograph for a template.

    **Arguments:** `image`: the micrograph, with the pixel size of `specimen`, whose first state is
    the template. `ctf`: of the micrograph, single numbers; None for images without. `angles`:
    orientations in place of the grid of `options`, `(rot, tilt, psi)`. `progress`: called with the
    number of orientations tried since its last call. `saved`: a file in which the state is kept,
    and from which a search that was stopped goes on. `should_stop`: asked between batches.

    **Returns:** what was found, or None if it was asked to stop (its state is saved then).

    **Raises:** `InputError` if the template does not fit or options make no sense.

    **Source:** Rickgauer, Grigorieff & Denk (2017) eLife 6, e25648; Lucas et al. (2021) eLife 10,
    e68946.
    """
    options = options or MatchOptions()
    pixel_size = specimen.pixel_size
    options.check(pixel_size)
    if specimen.box > min(image.shape):
        raise InputError(
            f"the template's box of {specimen.box} pixels is larger than the micrograph of "
            f"{image.shape[1]}×{image.shape[0]}; take a smaller box (-D)"
        )
    if angles is None:
        group = point_group(options.symmetry)
        angles = search_angles(options.step, options.in_plane_step, group)
    offsets = options.defocus_offsets() if ctf is not None else np.zeros(1)
    if len(angles) * len(offsets) >= 2**31:
        raise InputError(f"{len(angles) * len(offsets):,} views: take a larger --step")
    shape = (
        next_fast_len(image.shape[0], real=True),
        next_fast_len(image.shape[1], real=True),
    )
    noise = ring_power(image)
    band = options.band(pixel_size)
    whitened = apply_filter(image, whitening_filter(noise, image.shape, *band))
    target = make_target(
        np.pad(whitened, [(0, full - side) for full, side in zip(shape, image.shape, strict=True)]),
        whitening_filter(noise, shape, *band),
        _filters(ctf, offsets, shape, pixel_size, options),
    )
    word = fingerprint(image, specimen, angles, offsets, ctf, replace(options, batch=None))
    maps, done = empty_maps(shape), 0
    if saved is not None:
        maps, done = read_maps(saved, word, maps)
        progress(done)
    batch = options.batch or batch_for_memory(shape, len(angles))
    rotations = angles_to_rotations(angles)
    last_save = time.monotonic()
    while done < len(angles):
        number = np.minimum(np.arange(done, done + batch), len(angles) - 1)
        counts = np.arange(done, done + batch) < len(angles)
        maps = search_views(
            maps,
            target,
            specimen,
            jnp.asarray(rotations[number]),
            jnp.asarray(number, jnp.int32),
            jnp.asarray(counts),
        )
        jax.block_until_ready(maps)
        progress(int(counts.sum()))
        done += int(counts.sum())
        is_stopping = bool(should_stop())
        if saved is not None and (is_stopping or time.monotonic() - last_save > _SAVE_INTERVAL):
            save_maps(saved, word, maps, done)
            last_save = time.monotonic()
        if is_stopping and done < len(angles):
            return None
    return _finish(maps, image.shape, specimen.box, angles, offsets, pixel_size, options)


def batch_for_memory(shape: tuple[int, int], orientations: int) -> int:
    """Choose how many orientations to compare at a time, by the memory that is free."""
    devices = jax.devices()[:1]
    most = _MOST_ON_CPU if devices[0].platform == "cpu" else _MOST
    fits = int(_SHARE * free_device_memory(devices) / (_BYTES * shape[0] * shape[1]))
    return max(1, min(most, fits, orientations))


def _filters(
    ctf: CTFParameters | None,
    offsets: Float[np.ndarray, " d"],
    shape: tuple[int, int],
    pixel_size: float,
    options: MatchOptions,
) -> Float32[np.ndarray, "d h c"]:
    sign = 1.0 if options.contrast == "white" else -1.0
    k = jnp.asarray(rectangle_frequencies(shape)) / pixel_size
    if ctf is None:
        return np.full((1, *k.shape[:2]), sign, np.float32)
    one = CTFParameters(*(jnp.asarray(float(np.asarray(field)), jnp.float32) for field in ctf))
    filters = []
    for offset in offsets.tolist():
        here = one._replace(defocus_u=one.defocus_u + offset, defocus_v=one.defocus_v + offset)
        values = evaluate_ctf(k.reshape(-1, 2), here, options.contrast)
        filters.append(np.asarray(values).reshape(k.shape[:2]))
    return np.stack(filters)


def _finish(
    maps: Maps,
    shape: tuple[int, ...],
    box: int,
    angles: Float[np.ndarray, "m 3"],
    offsets: Float[np.ndarray, " d"],
    pixel_size: float,
    options: MatchOptions,
) -> Match:
    def placed(column: np.ndarray) -> np.ndarray:
        # A view's centre is pixel box // 2 of its box, whose corner the correlation counts from.
        return np.roll(column, (box // 2, box // 2), axis=(0, 1))[: shape[0], : shape[1]]

    snr, view, total, squares = (placed(np.asarray(column)) for column in maps[:4])
    views = len(angles) * len(offsets)
    mean = total / views
    deviation = np.sqrt(np.maximum(squares / views - mean**2, 0))
    z = (snr - mean) / np.where(deviation > 0, deviation, 1)
    uses_z = options.score == "z" or (options.score == "auto" and views >= _MANY_VIEWS)
    samples = float(views) * shape[0] * shape[1]
    threshold = noise_threshold(samples, options.false_positives)
    distance = options.distance if options.distance is not None else box * pixel_size / 3
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
    )

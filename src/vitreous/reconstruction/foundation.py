"""What is measured before the first step: consensus map, noise spectrum, particle radius.

All of it comes from one or two passes over (at most `MAX_IMAGES`) prepared images, and is stored
with the run.
"""

import logging
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from vitreous.geometry.fourier import half_plane_weights, half_space, volume_from_half_space
from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.geometry.shells import shell_index, shell_sum
from vitreous.geometry.shift import phase_shift
from vitreous.imaging.ctf import evaluate_ctf
from vitreous.imaging.dose import dose_filter
from vitreous.imaging.fourier_grid import FourierGrid, volume_to_grid
from vitreous.imaging.slicing import slice_grid
from vitreous.particles.device_data import fetch
from vitreous.particles.loader import PreparedImages
from vitreous.particles.prepare import Batch
from vitreous.reconstruction.backprojection import Geometry, Slices
from vitreous.reconstruction.checks.contrast import decide_contrast, keep_signal
from vitreous.reconstruction.consensus import consensus_from_batches
from vitreous.reconstruction.finish import Consensus
from vitreous.reconstruction.half_sets import half_sets
from vitreous.reconstruction.masks import spherical_mask

logger = logging.getLogger(__name__)


class Foundation(NamedTuple):
    """Hold what a model of heterogeneity stands on, in units of the prepared pixels.

    **Fields:** `consensus`: map `(z, y, x)`, already masked, or None. `fsc`: of its half maps.
    `noise`: power per shell. `amplitude`: root mean square signal per shell. `radius`: of the
    particle in pixels. `is_dark`: the density is clearly negative, so the images are dark.
    """

    consensus: Float[np.ndarray, "n n n"] | None
    fsc: Float[np.ndarray, " shells"] | None
    noise: Float[np.ndarray, " shells"]
    amplitude: Float[np.ndarray, " shells"]
    radius: float
    is_dark: bool = False


def centred_pixels(
    batch: Batch, pixels: FourierPixels, shift: Float[Array, "b 2"]
) -> Complex[Array, "b p"]:
    """Move each particle to the centre of its image."""
    return batch.pixels * phase_shift(pixel_frequencies(batch, pixels), -shift)


def pixel_frequencies(batch: Batch, pixels: FourierPixels) -> Float[Array, "b p 2"]:
    """Return the frequency of every pixel in cycles/Å; images may differ in pixel size."""
    length = pixels.box * batch.pixel_size
    return jnp.asarray(pixels.frequency)[None] / length[:, None, None]


def known_rotation(batch: Batch) -> Float[Array, "b 3 3"]:
    """Return the rotations of a batch; fits with known poses are checked to have them."""
    assert batch.rotation is not None
    return batch.rotation


def transfer_of(batch: Batch, pixels: FourierPixels) -> Float[Array, "b p"]:
    """Evaluate what each pixel was multiplied with: CTF, and dose in tilt series; 1 without."""
    return transfer_at(batch, pixel_frequencies(batch, pixels))


def transfer_at(batch: Batch, frequency: Float[Array, "b p 2"]) -> Float[Array, "b p"]:
    """Evaluate `transfer_of` at other frequencies (cycles/Å)."""
    if batch.ctf is None:
        return jnp.ones(frequency.shape[:2])
    transfer = evaluate_ctf(frequency, batch.ctf)
    if batch.dose is None:
        return transfer
    return transfer * dose_filter(frequency, batch.dose, jnp.asarray(batch.ctf.voltage))


def lay_on_white(
    build: Callable[[str], PreparedImages],
    lay: Callable[[PreparedImages], Foundation],
    contrast: str,
) -> tuple[PreparedImages, Foundation, str]:
    """Prepare images and lay a foundation; if they turn out dark, once more with them inverted.

    **Arguments:** `build`: prepares images of a contrast. `lay`: measures them. `contrast`: only
    `"auto"` is open to a change.

    **Returns:** images, foundation, and the contrast they have.
    """
    prepared = build(contrast)
    foundation = lay(prepared)
    if foundation.is_dark and contrast == "auto":
        logger.warning("the particles are dark: inverting them (as --uninvert-data does)")
        contrast = "dark"
        prepared = build(contrast)
        foundation = lay(prepared)
    return prepared, foundation, contrast


def lay_foundation(
    data: PreparedImages,
    *,
    with_consensus: bool,
    whiten: bool,
    particle_diameter: float | None,
    batch_size: int = 64,
) -> Foundation:
    """Measure consensus map, noise and signal per shell, and the particle's radius.

    **Arguments:** `with_consensus`: False if the model does without a consensus map. `whiten`:
    False sets the noise power to 1 on every shell. `particle_diameter`: in Å, None measures it
    from the half maps.
    """
    pixel_size = float(np.median(np.asarray(data.table.pixel_size)))
    consensus = reconstruct_consensus(data, pixel_size, batch_size)
    if particle_diameter is not None:
        radius = particle_diameter / 2 / pixel_size
    else:
        radius = particle_radius(*np.asarray(consensus.half_maps))
    radius = float(np.clip(radius, 4.0, 0.5 * data.box - 1))
    mask = spherical_mask(data.box, radius, soft_edge=max(3.0, 0.05 * data.box))
    masked = np.asarray(consensus.volume) * mask
    amplitude = shell_amplitude(masked, data.pixels.max_shell)
    grid = volume_to_grid(jnp.asarray(masked))
    if whiten:
        noise = residual_spectrum(data, grid, batch_size)
    else:
        noise = np.ones(data.pixels.max_shell + 1, np.float32)
    diameter = 2 * radius * pixel_size
    logger.info("consensus of %d images, particle diameter %.0f Å", len(data), diameter)
    return Foundation(
        masked.astype(np.float32) if with_consensus else None,
        np.asarray(consensus.fsc),
        noise,
        amplitude,
        radius,
        looks_dark(consensus),
    )


def looks_dark(consensus: Consensus) -> bool:
    """Tell whether density is clearly negative in both half maps."""
    clear = np.asarray(keep_signal(consensus.half_maps, consensus.fsc))
    # Prepared pixels hold no zero frequency: the map alone decides, not the image centres.
    verdict, _, _ = decide_contrast(clear, np.zeros(0, np.float32))
    return verdict == "dark"


def shell_amplitude(
    volume: Float[np.ndarray, "n n n"], max_shell: int
) -> Float[np.ndarray, " shells"]:
    """Return the root mean square of a map's transform per shell, in units of prepared pixels.

    The zero frequency takes the value of shell 1: no image pixel tells about it.
    """
    box = volume.shape[0]
    transform = np.asarray(half_space(jnp.asarray(volume, jnp.float32)))
    shell = shell_index(box, 3, half=True).ravel()
    mates = np.broadcast_to(half_plane_weights(box), transform.shape).ravel()
    power = np.bincount(shell, mates * np.abs(transform.ravel()) ** 2, max_shell + 1)
    count = np.bincount(shell, mates, max_shell + 1)
    amplitude = np.sqrt(power / count)[: max_shell + 1]
    amplitude[0] = amplitude[min(1, max_shell)]
    # A shell without measured signal keeps a little, so that the field can still find some.
    return np.maximum(amplitude, 1e-3 * amplitude.max()).astype(np.float32)


def residual_spectrum(
    data: PreparedImages, consensus: FourierGrid, batch_size: int
) -> Float[np.ndarray, " shells"]:
    """Return the mean power of image minus consensus projection on each shell."""
    pixels = data.pixels
    count = pixels.max_shell + 1

    @jax.jit
    def power(grid: FourierGrid, batch: Batch) -> Float[Array, " shells"]:
        centred = centred_pixels(batch, pixels, batch.shift)
        model = slice_grid(grid, known_rotation(batch), jnp.asarray(pixels.frequency))
        left = centred - transfer_of(batch, pixels).astype(model.dtype) * model
        square = (left.real**2 + left.imag**2) * batch.weight[:, None]
        return shell_sum(
            jnp.sum(square, axis=0) * jnp.asarray(pixels.weight), jnp.asarray(pixels.shell), count
        )

    total = np.zeros(count)
    for batch in data.in_order(batch_size):
        total += np.asarray(fetch(power(consensus, batch)), np.float64)
    size = np.bincount(pixels.shell, pixels.weight, count) * len(data)
    spectrum = np.ones(count)
    known = size > 0
    spectrum[known] = total[known] / size[known]
    return np.maximum(spectrum, 1e-6).astype(np.float32)


def reconstruct_consensus(data: PreparedImages, pixel_size: float, batch_size: int) -> Consensus:
    """Backproject all images, in halves."""
    table = data.table
    halves = jnp.asarray(half_sets(len(table), table.half_set, table.particle))

    def slices(batch: Batch) -> Slices:
        return Slices(
            batch.pixels,
            known_rotation(batch),
            batch.shift,
            batch.pixel_size,
            batch.ctf,
            halves[batch.index],
            batch.weight,
            batch.dose,
        )

    geometry = Geometry(data.box, data.pixels.max_shell, pixel_size)
    return consensus_from_batches(map(slices, data.in_order(batch_size)), geometry)


def particle_radius(
    first: Float[np.ndarray, "n n n"],
    second: Float[np.ndarray, "n n n"],
    threshold: float = 0.3,
) -> float:
    """Find the radius in voxels beyond which two half maps no longer agree.

    The half maps are low-passed to half of Nyquist and correlated on spherical shells in real
    space: inside the particle they share its density, in the solvent only noise is left. The
    answer is where, going outwards from the shell with most signal, the correlation first falls
    below `threshold`. (Not the last such shell: the window of the images makes the corners of
    the box agree again.)
    """
    box = first.shape[0]
    keep = np.exp(-2 * (shell_index(box, 3, half=True) / (box / 4)) ** 4).astype(np.float32)
    smooth = np.asarray(_smoothed(jnp.stack([first, second]), jnp.asarray(keep))).reshape(2, -1)
    shell = shell_index(box, 3).ravel()
    shells = box // 2
    cross, a, b = (
        np.bincount(shell, x, shells)[:shells]
        for x in (smooth[0] * smooth[1], smooth[0] ** 2, smooth[1] ** 2)
    )
    correlation = cross / np.sqrt(np.maximum(a * b, 1e-30))
    strongest = int(np.argmax(cross))
    outside = np.flatnonzero(correlation[strongest:] < threshold)
    return float(strongest + outside[0]) if len(outside) else float(shells)


@jax.jit
def _smoothed(
    maps: Float[Array, "m n n n"], keep: Float[Array, "n n h"]
) -> Float[Array, "m n n n"]:
    transform = half_space(maps)
    return volume_from_half_space(transform * keep[None].astype(transform.dtype), maps.shape[-1])

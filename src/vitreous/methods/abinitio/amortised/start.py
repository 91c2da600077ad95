"""Where wake and sleep begin: a volume of a few images at random poses, and first spectra."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vitreous.geometry.rotations import random_rotations
from vitreous.methods.abinitio.amortised.config import AmortisedConfig
from vitreous.methods.abinitio.amortised.frame import Frame
from vitreous.methods.abinitio.amortised.reference import Reference, reference_table, spectra
from vitreous.particles.loader import PreparedImages
from vitreous.particles.order import epoch_plan
from vitreous.particles.prepare import Batch
from vitreous.reconstruction.backprojection import expected_density
from vitreous.reconstruction.consensus import consensus_volume
from vitreous.reconstruction.density import SAMPLE
from vitreous.reconstruction.finish import Consensus


def frame_of(data: PreparedImages, config: AmortisedConfig) -> Frame:
    """Choose the small box for a set of images."""
    band = config.band_limit(data.pixels.max_shell)
    return Frame(data.box, band, float(np.median(np.asarray(data.table.pixel_size))))


def sample_images(data: PreparedImages, frame: Frame, count: int, seed: int) -> Batch:
    """Gather some images, cropped."""
    rng = np.random.default_rng([seed, 11])
    rows = rng.permutation(len(data))[: min(count, len(data))].astype(np.int32)
    return frame.crop(next(data.batches(epoch_plan(rows, len(rows)))))


def typical_density(sample: Batch, frame: Frame) -> Float[np.ndarray, " radii"]:
    """Measure how densely the slices of a set fill Fourier space."""
    some = jax.tree.map(lambda leaf: leaf[:SAMPLE], sample)
    sampling = some.pixel_size * frame.shrink
    return np.asarray(expected_density(sampling, some.ctf, some.dose, frame.geometry))


def white_level(data: PreparedImages, sample: Batch, frame: Frame) -> float:
    """Measure the noise just beyond the band, where next to no signal is left.

    **Arguments:** `sample`: images with all their pixels.
    """
    pixels = data.pixels
    power = np.mean(np.abs(np.asarray(sample.pixels)) ** 2, axis=0)
    count = np.bincount(pixels.shell, pixels.weight, pixels.max_shell + 1)
    total = np.bincount(pixels.shell, power * pixels.weight, pixels.max_shell + 1)
    shells = np.arange(frame.max_shell, min(2 * frame.max_shell, pixels.max_shell) + 1)
    return float((total[shells] / count[shells]).min())


def first_reference(
    sample: Batch,
    white: float | Float[Array, ""],
    frame: Frame,
    config: AmortisedConfig,
    volume: Float[Array | np.ndarray, "n n n"] | None = None,
) -> Reference:
    """Make the first volume: a few images at random poses, or a given map.

    **Arguments:** `sample`: some hundred images. `white`: power of the noise. `volume`: in the
    small box and the units of prepared pixels.
    """
    count = len(sample.pixels)
    rotation = random_rotations(jax.random.fold_in(jax.random.key(config.seed), 1), count)
    if volume is None:
        # A few images make a lumpy map; many would make a ball, which tells no views apart.
        used = (jnp.arange(count) < config.first_images).astype(jnp.float32)
        still = jnp.zeros((count, 2))
        group = jnp.arange(count, dtype=jnp.int32) % 2
        slices = frame.slices(sample, rotation, still, group, used)
        consensus = consensus_volume(slices, frame.geometry)
    else:
        whole = jnp.asarray(volume, jnp.float32)
        consensus = Consensus(whole, jnp.stack([whole, whole]), jnp.ones(frame.box // 2))
    # Both half sets begin with one volume, as nothing is known of either.
    return _reference(sample, consensus, rotation, frame.max_shell, white, frame, config)


def reference_of_poses(
    sample: Batch,
    rotation: Float[Array, "b 3 3"],
    shift: Float[Array, "b 2"],
    halves: Int[Array | np.ndarray, " b"],
    white: float | Float[Array, ""],
    frame: Frame,
    config: AmortisedConfig,
) -> Reference:
    """Make the first volume of images whose poses are roughly known.

    **Arguments:** `shift`: in pixels of the small box.
    """
    weight = jnp.ones(len(sample.pixels))
    slices = frame.slices(sample, rotation, shift, jnp.asarray(halves, jnp.int32), weight)
    consensus = consensus_volume(slices, frame.geometry)
    return _reference(sample, consensus, rotation, config.join_shell, white, frame, config)


def _reference(
    sample: Batch,
    consensus: Consensus,
    rotation: Float[Array, "b 3 3"],
    shared: int,
    white: float | Float[Array, ""],
    frame: Frame,
    config: AmortisedConfig,
) -> Reference:
    radius = config.particle_share * frame.box / 2
    table = reference_table(consensus, frame, shared, radius)
    noise = jnp.full(frame.shells, jnp.asarray(white, jnp.float32))
    band = jnp.int32(min(config.start_band, frame.max_shell))
    lens = frame.transfer(sample)
    return spectra(table, noise, rotation, lens, band, consensus.fsc, frame)

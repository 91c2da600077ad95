"""The volume of the moment, as every part of wake and sleep needs it.

Two half sets are aligned to volumes of their own beyond the first shells, which both share so that
they keep one frame; the encoder is taught both.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int

from vitreous.geometry.fourier import half_space, volume_from_half_space
from vitreous.geometry.shells import shell_index
from vitreous.imaging.fourier_grid import FourierGrid, GridShape, volume_to_grid
from vitreous.imaging.interpolation import GUARD
from vitreous.imaging.slicing import rotated_frequencies, sample_grid
from vitreous.methods.abinitio.amortised.frame import Frame, mean_of_shells
from vitreous.reconstruction.finish import Consensus
from vitreous.reconstruction.masks import spherical_mask
from vitreous.training.schedules import linear_ramp

# Share of the strongest shell's power below which a shell counts as empty.
_EMPTY = 1e-4
# Share of the training before the band opens, and when all of it is open.
_MARCH = (0.2, 0.75)


class Reference(eqx.Module):
    """Hold half volumes, spectra and the band in use.

    **Fields:** `table`: Fourier grids of both halves, one after the other. `noise`, `signal`:
    power per shell of noise, and of slices before the CTF. `transmitted`: mean over images of
    `c² S / (c² S + N)` per shell. `band`: outermost shell in use. `fsc`: between the half maps.
    """

    table: Float[Array, "v 2"]
    noise: Float[Array, " shells"]
    signal: Float[Array, " shells"]
    transmitted: Float[Array, " shells"]
    band: Int[Array, ""]
    fsc: Float[Array, " curve"]

    def grid(self, frame: Frame) -> FourierGrid:
        """Return the grids as one table, read by half set."""
        shape = GridShape(frame.box, GUARD["linear"])
        return FourierGrid(self.table, frame.box, shape, "linear")

    def in_band(self, frame: Frame) -> Float[Array, " p"]:
        """Return 1 for pixels within the band, 0 beyond."""
        return (jnp.asarray(frame.pixels.shell) <= self.band).astype(jnp.float32)

    def slices(
        self,
        frame: Frame,
        rotation: Float[Array, "b k 3 3"],
        group: Int[Array, " b"],
        stretch: Float[Array, " b"],
    ) -> Complex[Array, "b k p"]:
        """Cut slices out of each image's half volume, centred and before the CTF."""
        points = rotated_frequencies(rotation, jnp.asarray(frame.pixels.frequency))
        which = jnp.broadcast_to(group[:, None], rotation.shape[:2])
        return sample_grid(self.grid(frame), points * stretch[:, None, None, None], which)


def whitened(
    pixels: Complex[Array, "b p"],
    transfer: Float[Array, "b p"],
    reference: Reference,
    frame: Frame,
) -> Complex[Array, "b p"]:
    """Make of an image what encoders see: its Wiener estimate, shells brought to unit variance.

    `x = y c S / (c² S + N) / √(S E[c² S / (c² S + N)])`, and 0 beyond the band.
    """
    shell = frame.pixels.shell
    signal, noise = reference.signal[shell][None], reference.noise[shell][None]
    scale = 1 / jnp.sqrt(reference.signal * jnp.maximum(reference.transmitted, 1e-3))
    gain = transfer * signal / (transfer**2 * signal + noise)
    gain = gain * (scale[shell] * reference.in_band(frame))[None]
    return pixels * gain.astype(pixels.dtype)


def spectra(
    table: Float[Array, "v 2"],
    noise: Float[Array, " shells"],
    rotation: Float[Array, "b 3 3"],
    transfer: Float[Array, "b p"],
    band: Int[Array, ""],
    fsc: Float[Array, " curve"],
    frame: Frame,
) -> Reference:
    """Measure a reference's spectra on slices at the given rotations."""
    empty = jnp.ones(frame.shells)
    bare = Reference(table, noise, empty, empty, band, fsc)
    half = jnp.arange(len(rotation), dtype=jnp.int32) % 2
    views = bare.slices(frame, rotation[:, None], half, jnp.ones(len(rotation)))[:, 0]
    signal = mean_of_shells(views.real**2 + views.imag**2, frame)
    signal = jnp.maximum(signal, _EMPTY * jnp.max(signal) + 1e-12)
    shell = frame.pixels.shell
    expected = transfer**2 * signal[shell][None]
    transmitted = mean_of_shells(expected / (expected + noise[shell][None]), frame)
    return Reference(table, noise, signal, transmitted, band, fsc)


def reference_table(
    consensus: Consensus, frame: Frame, join_shell: int, radius: float
) -> Float[Array, "v 2"]:
    """Make the grids that half sets are aligned to.

    Shells up to `join_shell` are those of the map of all images; beyond them each half has its
    own, damped by the correlation with the other one (a Wiener filter: `SNR / (1 + SNR) = FSC`).

    **Arguments:** `radius`: of the ball that holds the particle, in voxels of the small box.
    """
    box = frame.box
    shell = jnp.asarray(np.minimum(shell_index(box, 3, half=True), len(consensus.fsc) - 1))
    keep = jnp.clip(consensus.fsc, 0.0, 1.0)[shell]
    joined = shell <= join_shell
    whole = half_space(consensus.volume)
    halves = half_space(consensus.half_maps) * keep.astype(whole.dtype)[None]
    mixed = jnp.where(joined[None], whole[None], halves)
    ball = jnp.asarray(spherical_mask(box, radius, soft_edge=3.0))
    volumes = volume_from_half_space(mixed, box) * ball[None]
    return jnp.concatenate([volume_to_grid(volumes[i]).values for i in range(2)])


def next_band(
    fsc: Float[Array, " curve"],
    band: Int[Array, ""],
    progress: Float[Array, ""],
    frame: Frame,
    start: int,
) -> Int[Array, ""]:
    """Let the band grow to just beyond where the half maps agree, but not before its time.

    Half sets that share their first shells agree early on features that are wrong: a band that
    follows at once fixes them. So a shell is open only from its place in the training on.
    """
    agree = jnp.cumprod((fsc[1:] > 0.5).astype(jnp.int32))
    wanted = jnp.sum(agree) + 1
    open_to = linear_ramp(progress, *_MARCH, float(start), frame.max_shell + 0.5)
    wanted = jnp.minimum(wanted, jnp.floor(open_to).astype(wanted.dtype))
    return jnp.clip(jnp.maximum(band, wanted.astype(band.dtype)), 1, frame.max_shell)

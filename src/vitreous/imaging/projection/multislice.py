"""Multiple scattering: the beam passes one thin slab after another and spreads in between.

Slabs are contiguous and fill the depth, each turned into a phase at its middle plane. Between them
the wave propagates by `exp(−iπλ k² Δz)`. Behind the last it is taken back to the middle of the
specimen, to which defocus refers everywhere else in imaging.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from vitreous.geometry.fourier import frequencies, image_from_half_plane
from vitreous.geometry.waves import wave_of_turns
from vitreous.imaging.ctf import electron_wavelength, interaction_factor
from vitreous.imaging.grid import ImageGrid
from vitreous.imaging.projection.project import self_conjugate
from vitreous.imaging.slicing import rotated_frequencies
from vitreous.imaging.volumes.base import Volume, known


def slab_integrals(
    volume: Volume,
    rotation: Float[Array, "b 3 3"],
    grid: ImageGrid,
    slabs: int,
    depth: float | None = None,
) -> Float[Array, "b s n n"]:
    """Integrate a volume along the beam over each of some slabs of equal thickness.

    **Arguments:** `depth`: what the slabs fill together in Å, about the centre; the side of the
    image unless given. Density outside it wraps round.

    **Returns:** images in Å⁻¹, slabs in order of z, band-limited to the Nyquist frequency of the
    grid in all three directions. Their sum is the projection, exactly.

    **Raises:** `ValueError` if a depth is given and the pixel size is not known when code is
    compiled.
    """
    pixel = known(grid.pixel_size)
    if depth is None:
        highest = (grid.box + 1) // 2
    elif pixel is None:
        raise ValueError("multislice must know the pixel size when code is compiled")
    else:
        highest = max(int(np.ceil(depth / (2 * pixel))), 1)
    extent = grid.extent if depth is None else jnp.asarray(depth)
    # ∫ over a slab of Σ_m F(k, m/L) exp(2πi m z/L) / L, the slab centred at z_s.
    m = np.arange(-highest, highest + 1)
    place = (np.arange(slabs) + 0.5) / slabs - 0.5
    weight = np.sinc(m / slabs)[:, None] * np.exp(2j * np.pi * m[:, None] * place) / slabs
    k = grid.frequencies().reshape(-1, 2).astype(rotation.dtype)
    flat = rotated_frequencies(rotation, k)
    steps = (
        jnp.asarray(m, rotation.dtype) / extent.astype(rotation.dtype),
        jnp.asarray(weight, jnp.complex128 if rotation.dtype == jnp.float64 else jnp.complex64),
    )

    def add(total, step):
        height, share = step
        values = volume.transform_at(flat + height * rotation[:, 2][:, None])
        return total + share[None, :, None] * values[:, None].astype(share.dtype), None

    zero = jnp.zeros((len(rotation), slabs, len(k)), steps[1].dtype)
    half = jax.lax.scan(jax.checkpoint(add), zero, steps)[0].reshape(-1, grid.box, grid.columns)
    half = self_conjugate(half, grid.box) / (grid.pixel_size**2).astype(half.dtype)
    images = image_from_half_plane(half, grid.box)
    return images.reshape(len(rotation), slabs, grid.box, grid.box)


def propagator(
    grid: ImageGrid, voltage: float | Array, distance: float | Array
) -> Complex[Array, "n n"]:
    """Return `exp(−iπλ k² Δz)` on the whole plane in FFT order, 0 beyond ⅔ of Nyquist.

    Products of waves hold twice their frequencies; the limit keeps them from folding back.
    """
    k = jnp.asarray(frequencies(grid.box, 2), grid.pixel_size.dtype)
    square = jnp.fft.ifftshift(jnp.sum(k * k, axis=-1)) / grid.extent**2
    wavelength = electron_wavelength(jnp.asarray(voltage, square.dtype))
    wave = wave_of_turns(-0.5 * wavelength * distance * square)
    return jnp.where(square <= (2 / 3 * grid.nyquist) ** 2, wave, 0)


def exit_wave_multislice(
    volume: Volume,
    rotation: Float[Array, "b 3 3"],
    grid: ImageGrid,
    voltage: float | Array,
    slabs: int,
    depth: float | None = None,
    amplitude_contrast: float | Array = 0.0,
) -> Complex[Array, "b n n"]:
    """Send a plane wave through a specimen, slab by slab.

    **Arguments:** `voltage` in kV. `slabs`, `depth`: see `slab_integrals`; with one slab the wave
    is the eikonal one, and unlimited. `amplitude_contrast`: share `w` of absorption, 0..1.

    Detail beyond ⅔ of the Nyquist frequency is lost: `grid.refined(1.5)` keeps all of the grid's.

    **Returns:** waves, 1 where there is nothing, as they would be at the plane through the centre:
    `optics.transfer.wave_contrast` makes images of them.

    **Source:** Cowley & Moodie (1957) Acta Cryst. 10, 609; Kirkland, *Advanced Computing in
    Electron Microscopy*, ch. 6.
    """
    w = jnp.asarray(amplitude_contrast, rotation.dtype)
    factor = interaction_factor(jnp.asarray(voltage, rotation.dtype))
    images = slab_integrals(volume, rotation, grid, slabs, depth) * factor
    exponent = jax.lax.complex(-w * images, jnp.sqrt(1 - w * w) * images)
    transmission = jnp.moveaxis(jnp.exp(exponent), 1, 0)
    if slabs == 1:
        return transmission[0]
    extent = grid.extent if depth is None else jnp.asarray(depth, grid.pixel_size.dtype)
    step = propagator(grid, voltage, extent / slabs).astype(transmission.dtype)
    back = propagator(grid, voltage, -extent / slabs * (slabs - 1) / 2).astype(transmission.dtype)

    def travel(wave: Complex[Array, "b n n"], by: Complex[Array, "n n"]):
        return jnp.fft.ifft2(jnp.fft.fft2(wave) * by[None])

    def through(wave, slab):
        return travel(wave, step) * slab, None

    wave = jax.lax.scan(jax.checkpoint(through), transmission[0], transmission[1:])[0]
    return travel(wave, back)

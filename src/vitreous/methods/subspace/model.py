"""The linear model of heterogeneity, and the grid its mean and components live on.

`y_i = s_i C_i P_i (μ + U z_i) + noise`, `z ~ N(0, 1)` (the scale of each direction is part of
`U`), noise white within a shell. Fields of images `P_i` are read from a Fourier grid that holds
only the shells in use: the same frequencies as a full box, in a fraction of its memory.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int

from vitreous.geometry.fourier import (
    fft_centered,
    half_space,
    ifft_centered,
    volume_from_half_space,
)
from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.geometry.shift import crop_centered
from vitreous.imaging.fourier_grid import GridShape, guarded_table, kernel_correction

# Pixels worked on at a time: sums over a band run over as many chunks as the band needs.
CHUNK = 64


class Band(NamedTuple):
    """Say which shells a subspace is fitted on (hashable, so a static argument).

    **Fields:** `box`: side of the images. `max_shell`: outermost shell. `components`: K.
    """

    box: int
    max_shell: int
    components: int

    @property
    def pixels(self) -> FourierPixels:
        """The Fourier pixels in use: a leading part of every larger list."""
        return FourierPixels(self.box, self.max_shell)

    @property
    def size(self) -> int:
        """Side of the grid: the smallest fast box that holds the shells, never above `box`."""
        size = 2 * self.max_shell + 2
        while not _is_fast(size):
            size += 2
        return min(size, self.box)

    @property
    def shape(self) -> GridShape:
        """Layout of the table images are read from and inserted into."""
        return GridShape(self.size, 0)

    @property
    def shells(self) -> int:
        """Number of shells, the zero frequency among them."""
        return self.max_shell + 1

    @property
    def fields(self) -> int:
        """Number of volumes: mean and components."""
        return self.components + 1

    @property
    def chunks(self) -> int:
        """Number of pixel chunks that cover the band."""
        return -(-len(self.pixels) // CHUNK)


def _is_fast(size: int) -> bool:
    """Whether a Fourier transform of this length has small factors only."""
    for factor in (2, 3, 5, 7):
        while size % factor == 0:
            size //= factor
    return size == 1


class Noise(NamedTuple):
    """Hold the noise of every optics group, and the shells in use.

    **Fields:** `power`: of prepared pixels, per group and shell. `group`: of each image of the
    set. `last_shell`: shells beyond it do not count yet.
    """

    power: Float[Array, "groups shells"]
    group: Int[Array, " n"]
    last_shell: Int[Array, ""]


class Subspace(NamedTuple):
    """Hold two independent estimates of mean and components, one a half set.

    **Fields:** `grid`: transforms as images read them, `(2, K+1, …)`, mean first. `half`: which of
    the two an image reads and adds to.
    """

    grid: Complex[Array, "2 k n n h"]
    half: Int[Array, " n"]


def grid_table(grid: Complex[Array, "2 k n n h"], shape: GridShape) -> Float[Array, "rows c"]:
    """Lay both estimates into one table, the second behind the first."""
    parts = jnp.concatenate([grid.real, grid.imag], axis=1)
    return jnp.concatenate([guarded_table(jnp.moveaxis(p, 0, -1), shape) for p in parts])


def grid_to_volumes(
    grid: Complex[Array, "*batch n n h"], size: int
) -> Float[Array, "*batch n n n"]:
    """Return the volumes that images read from a grid show: interpolation dims its rim."""
    seen = jnp.asarray(_dimming(size), grid.real.dtype)
    volumes = volume_from_half_space(grid, size)
    return volumes * seen.reshape((1,) * (volumes.ndim - 3) + seen.shape)


def volumes_to_grid(
    volumes: Float[Array, "*batch n n n"], size: int
) -> Complex[Array, "*batch n n h"]:
    """Undo `grid_to_volumes` inside the inscribed sphere; density in the corners is lost."""
    factor = jnp.asarray(kernel_correction(size, size, "linear", keep_corners=False))
    factor = factor.astype(volumes.dtype)
    return half_space(volumes * factor.reshape((1,) * (volumes.ndim - 3) + factor.shape))


def _dimming(size: int) -> np.ndarray:
    factor = kernel_correction(size, size, "linear", keep_corners=True)
    return (1 / factor).astype(np.float32)


def band_limited(volume: Float[Array, "*batch n n n"], size: int) -> Float[Array, "*batch m m m"]:
    """Bring volumes to another box over the same field of view by cropping their transforms.

    Values keep the meaning of the transform: `half_space` of the result holds the same numbers
    at the same frequencies. Works in both directions; what the smaller box cannot hold is 0.
    """
    transform = crop_centered(fft_centered(volume, 3), size, 3)
    smaller = min(size, volume.shape[-1])
    if smaller % 2 == 0:
        # The Nyquist planes have no mate in the other box.
        keep = np.abs(np.arange(size) - size // 2) < smaller // 2
        inside = keep[:, None, None] & keep[None, :, None] & keep[None, None, :]
        cube = jnp.asarray(inside, transform.dtype)
        transform = transform * cube.reshape((1,) * (transform.ndim - 3) + cube.shape)
    return ifft_centered(transform, 3).real


def band_mean(volume: Float[np.ndarray, "*batch n n n"], band: Band) -> np.ndarray:
    """Bring maps to the band's grid."""
    return np.asarray(_band_limited(jnp.asarray(volume, jnp.float32), band.size))


_band_limited = partial(jax.jit, static_argnums=1)(band_limited)


def padded_pixels(band: Band) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return frequency, half-plane weight and shell of the pixels, filled up to whole chunks."""
    pixels = band.pixels
    fill = band.chunks * CHUNK - len(pixels)
    return (
        np.pad(pixels.frequency, [(0, fill), (0, 0)]),
        np.pad(pixels.weight, (0, fill)),
        np.pad(pixels.shell, (0, fill)),
    )


def chunks_up_to(band: Band, last_shell: Int[Array, ""]) -> Int[Array, ""]:
    """Count the chunks that hold shells up to `last_shell`."""
    ends = np.array([band.pixels.count_up_to(s) for s in range(band.shells)], np.int32)
    used = jnp.asarray(-(-ends // CHUNK).astype(np.int32))
    return used[jnp.clip(last_shell, 0, band.max_shell)]


def inverse_noise(noise: Noise, band: Band) -> Float[Array, "groups shells"]:
    """Return 1 / power on the shells in use, 0 beyond."""
    shell = jnp.arange(band.shells, dtype=jnp.int32)
    inside = (shell <= noise.last_shell)[None]
    return jnp.where(inside, 1 / noise.power, 0)


def log_density(noise: Noise, band: Band) -> float:
    """Return what the noise's own normalisation adds to the log evidence of all images.

    A pair of mates is one complex number of variance σ², of density `exp(−|r|² / σ²) / (π σ²)`.
    Without this term, evidences under different noise cannot be compared; a constant is left out.
    """
    shells = np.bincount(band.pixels.shell, band.pixels.weight, band.shells)
    used = np.arange(band.shells) <= int(noise.last_shell)
    power = np.asarray(noise.power, np.float64)
    images = np.bincount(np.asarray(noise.group), minlength=len(power))
    return float(-0.5 * images @ (np.log(power) @ (shells * used)))

"""Filters, envelopes and spectra: operators of spatial frequency (cycles/Å)."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vitreous.geometry.edges import falling_edge
from vitreous.imaging.grid import ImageGrid
from vitreous.imaging.noise import power_spectrum
from vitreous.imaging.operators import Operator, Power, Scalar, Tabulated, as_real, radius


class LowPass(Operator):
    """1 up to a cutoff, then half a cosine down to 0 over `width`, all in cycles/Å."""

    cutoff: Scalar = eqx.field(converter=as_real)
    width: Scalar = eqx.field(converter=as_real, default=0.0)

    def __call__(self, points: Float[Array, "... d"]) -> Float[Array, "..."]:
        """Evaluate at frequencies."""
        return falling_edge(radius(points) - self.cutoff, self.width)


def low_pass(grid: ImageGrid, cutoff: float = 0.95, width: float = 0.05) -> LowPass:
    """Make a low-pass filter from fractions of a grid's Nyquist frequency."""
    return LowPass(cutoff * grid.nyquist, width * grid.nyquist)


def high_pass(grid: ImageGrid, cutoff: float, width: float = 0.05) -> Operator:
    """Make the complement of `low_pass`, with the same fractions."""
    return 1 - low_pass(grid, cutoff, width)


class GaussianFilter(Operator):
    """`exp(−B (k − m)² / 4)`: an envelope for `centre` m = 0, a ring about other radii.

    **Fields:** `bfactor` in Å²; `centre` in cycles/Å.
    """

    bfactor: Scalar = eqx.field(converter=as_real)
    centre: Scalar = eqx.field(converter=as_real, default=0.0)

    def __call__(self, points: Float[Array, "... d"]) -> Float[Array, "..."]:
        """Evaluate at frequencies."""
        return jnp.exp(-0.25 * self.bfactor * (radius(points) - self.centre) ** 2)


class Lorentzian(Operator):
    """`1 / (1 + (2πξk)²)`, with `length` ξ in Å: 1 at zero frequency, ½ at `1 / 2πξ`."""

    length: Scalar = eqx.field(converter=as_real)

    def __call__(self, points: Float[Array, "... d"]) -> Float[Array, "..."]:
        """Evaluate at frequencies."""
        square = jnp.sum(points * points, axis=-1)
        return 1 / (1 + (2 * np.pi * self.length) ** 2 * square)


class ExponentialDecay(Operator):
    """`(1 + (2πξk)²)^(−3/2)`: in the plane, the transform of `exp(−r/ξ) / 2πξ²`; ξ is `length`."""

    length: Scalar = eqx.field(converter=as_real)

    def __call__(self, points: Float[Array, "... d"]) -> Float[Array, "..."]:
        """Evaluate at frequencies."""
        square = jnp.sum(points * points, axis=-1)
        return (1 + (2 * np.pi * self.length) ** 2 * square) ** -1.5


class Sinc(Operator):
    """`Π sinc(kⱼ Δ)`: what averaging over pixels of `width` Δ (Å) does; `** -1` undoes it."""

    width: Scalar = eqx.field(converter=as_real)

    def __call__(self, points: Float[Array, "... d"]) -> Float[Array, "..."]:
        """Evaluate at frequencies."""
        return jnp.prod(jnp.sinc(points * self.width), axis=-1)


def estimate_power(
    images: Float[Array, "... ny nx"], pixel_size: float, box: int | None = None
) -> Tabulated:
    """Measure the noise power of a micrograph or a stack as an operator.

    **Arguments:** `images`: one micrograph of any shape, or images with leading axes.
    `pixel_size`: Å. `box`: side of the tiles that a micrograph is cut into; by default the image
    itself if it is square, else 256 or the short side.

    **Returns:** `P(k)`, variance of a mode per pixel, on shells up to Nyquist: white noise of
    variance σ² gives σ². The zero frequency, the mean of the images, takes the value of the first
    shell. Tiles have a Hann window, so that strong low frequencies do not leak into high ones.
    """
    ny, nx = images.shape[-2:]
    if box is None:
        box = ny if ny == nx else min(256, ny, nx)
    if min(ny, nx) < box:
        raise ValueError(f"tiles of {box} pixels do not fit an image of {ny} × {nx}")
    cut = images[..., : ny // box * box, : nx // box * box]
    cut = cut.reshape(-1, ny // box, box, nx // box, box)
    tiles = jnp.moveaxis(cut, 3, 2).reshape(-1, box, box)
    tiles = tiles - jnp.mean(tiles, axis=(-2, -1), keepdims=True)
    if box < max(ny, nx):
        hann = np.sin(np.pi * (np.arange(box) + 0.5) / box) ** 2
        window = np.outer(hann, hann)
        window = window / np.sqrt(np.mean(window**2))
        tiles = tiles * jnp.asarray(window, tiles.dtype)[None]
    power = jnp.mean(power_spectrum(tiles), axis=0)
    power = power.at[0].set(power[1])
    shells = jnp.arange(power.shape[0], dtype=power.dtype)
    return Tabulated(shells / (box * pixel_size), power)


def whitening_filter(
    images: Float[Array, "... ny nx"], pixel_size: float, box: int | None = None
) -> Operator:
    """Make the filter `P^(−1/2)` that turns the noise of these images white, of variance 1.

    **Arguments:** as for `estimate_power`.
    """
    return Power(estimate_power(images, pixel_size, box), -0.5)

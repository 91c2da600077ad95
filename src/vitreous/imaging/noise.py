"""Gaussian noise of images, white or coloured, and signal-to-noise ratios by name.

Power `P(k)` is the variance of a Fourier mode per pixel, `Var F(k) = N P(k)` with the
un-normalised transform, so white noise of pixel variance σ² has `P = σ²` at every k.
"""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vitreous.geometry.fourier import (
    coordinates,
    frequencies,
    half_plane,
    half_plane_weights,
    image_from_half_plane,
)
from vitreous.geometry.shells import shell_index, shell_sum
from vitreous.imaging.grid import ImageGrid
from vitreous.imaging.likelihood import fourier_log_likelihood
from vitreous.imaging.operators import Number, Operator, apply_filter, as_operator

SNRDefinition = Literal["box", "mask"]


class GaussianNoise(eqx.Module):
    """Gaussian noise, white or coloured, the same in every image.

    **Field:** `power`: `P(k)`, an operator, or the variance of white noise.
    """

    power: Operator

    def __init__(self, power: Operator | Number = 1.0) -> None:
        if isinstance(power, float | int) and power <= 0:
            raise ValueError(f"the variance of noise is positive, not {power}")
        self.power = as_operator(power)

    def power_on(self, grid: ImageGrid) -> Float[Array, "n h"]:
        """Return `P(k)` on the half plane of a grid."""
        return self.power(grid.frequencies())

    def sample(self, key: jax.Array, count: int, grid: ImageGrid) -> Float[Array, "b n n"]:
        """Draw noise for `count` images: white noise in real space, filtered by `√P`."""
        white = white_noise(key, jnp.arange(count), grid.box).astype(grid.pixel_size.dtype)
        return apply_filter(white, self.power**0.5, grid)

    def log_likelihood(
        self, residual: Float[Array, "... n n"], grid: ImageGrid
    ) -> Float[Array, "..."]:
        """Return the log-density of images that are nothing but this noise."""
        return fourier_log_likelihood(half_plane(residual), self.power_on(grid))


def white_noise(key: jax.Array, index: Int[Array, " b"], box: int) -> Float[Array, "b n n"]:
    """Draw white noise of unit variance, in real space.

    Each image has its own random stream, set by its index: the same image gets the same noise in
    whatever batch it is made.
    """
    return jax.vmap(lambda i: jax.random.normal(jax.random.fold_in(key, i), (box, box)))(index)


def colour_noise(
    white: Float[Array, "... n n"], power: Float[Array, " shells"]
) -> Float[Array, "... n n"]:
    """Give white noise a power spectrum.

    Filtering real noise keeps it Hermitian and without any symmetry about the centre.

    **Arguments:** `power`: `P` at 0, 1, 2, … cycles/box; in between it is interpolated, beyond
    its end the last value holds.
    """
    box = white.shape[-1]
    k = frequencies(box, 2, half=True).astype(np.float64)
    radius = jnp.asarray(np.hypot(k[..., 0], k[..., 1]), power.dtype)
    shells = jnp.arange(power.shape[0], dtype=power.dtype)
    amplitude = jnp.sqrt(jnp.interp(radius, shells, power))
    half = half_plane(white)
    amplitude = amplitude.reshape(*(1,) * (half.ndim - 2), *amplitude.shape)
    return image_from_half_plane(half * amplitude.astype(half.dtype), box)


def power_spectrum(images: Float[Array, "... n n"]) -> Float[Array, "... shells"]:
    """Measure `P` of each image on shells 0 … n//2: the mean of `|F|² / N` over the shell."""
    box = images.shape[-1]
    half = half_plane(images)
    energy = (half.real**2 + half.imag**2) / box**2
    weight = np.broadcast_to(half_plane_weights(box), half.shape[-2:])
    shell = shell_index(box, 2, half=True)
    count = np.bincount(shell.ravel(), weight.ravel())[: box // 2 + 1]
    weighted = energy * weight.reshape(*(1,) * (energy.ndim - 2), *weight.shape)
    flat = weighted.reshape(*energy.shape[:-2], -1)
    total = shell_sum(flat, jnp.asarray(shell.ravel()), box // 2 + 1)
    return total / jnp.asarray(count, total.dtype).reshape(*(1,) * (total.ndim - 1), -1)


def circular_mask(box: int, radius: float) -> np.ndarray:
    """Mark the pixels at most `radius` pixels from the box centre, bool `(n, n)`."""
    return np.linalg.norm(coordinates(box, 2), axis=-1) <= radius


def noise_deviation(
    signal: Float[np.ndarray, "b n n"],
    snr: float,
    definition: SNRDefinition = "box",
    radius: float | None = None,
) -> float:
    """Find the standard deviation of white noise that gives clean images a signal-to-noise ratio.

    **Arguments:** `signal`: noiseless images, CTF applied. `snr`: ratio of variances, signal over
    noise, over all these images together. `definition`: which pixels count as signal: `"box"`,
    all of them (CryoBench's definition), or `"mask"`, those within `radius` pixels of the centre,
    which gives the same number more noise the more empty the box is.
    """
    if snr <= 0:
        raise ValueError(f"the signal-to-noise ratio must be positive, not {snr}")
    values = signal.astype(np.float64)
    if definition == "mask":
        box = signal.shape[-1]
        values = values[:, circular_mask(box, box / 2 if radius is None else radius)]
    return float(values.std() / np.sqrt(snr))

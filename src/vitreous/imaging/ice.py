"""Amorphous ice: a Gaussian random phase of a given spectrum, met before the lens.

Spectra are `S(k)` in rad² Å² per Å of thickness: the variance of the phase of a layer is
`thickness · ∫ S d²k`, whatever the pixels.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from vitreous.geometry.fourier import half_plane
from vitreous.imaging.ctf import interaction_factor
from vitreous.imaging.filters import GaussianFilter
from vitreous.imaging.grid import ImageGrid
from vitreous.imaging.noise import white_noise
from vitreous.imaging.operators import Number, Numbers, Operator, as_operator, as_real

# Water molecules in vitreous ice of 0.94 g/cm³ (Å⁻³), and how strongly one scatters forward (Å):
# oxygen and two hydrogens, Peng et al. (1996).
_DENSITY = 0.0314
_FORWARD = 1.9834 + 2 * 0.5288


def parkhurst_spectrum(voltage: float = 300.0, strength: float | None = None) -> Operator:
    """Return the spectrum of vitreous ice: a wide Gaussian plus the water ring at 2.88 Å.

    **Arguments:** `voltage` in kV. `strength`: rad² Å² per Å of thickness; by default that of as
    many water molecules scattering independently, `(λγ)² ρ f(0)²`.

    **Source:** shape: Parkhurst et al. (2024) Ultramicroscopy 256, 113882:
    `0.199 exp(−k²/2·0.731²) + 0.801 exp(−(k − 1/2.88)²/2·0.081²)`.
    """
    if strength is None:
        strength = interaction_factor(np.array([voltage])).item() ** 2 * _DENSITY * _FORWARD**2
    wide, ring = GaussianFilter(2 / 0.731**2), GaussianFilter(2 / 0.081**2, 1 / 2.88)
    return strength * (0.199 * wide + 0.801 * ring)


class GaussianIce(eqx.Module):
    """Ice as a Gaussian random field of phases.

    **Fields:** `thickness`: Å, one number or one an image. `spectrum`: rad² Å² per Å.
    """

    thickness: Float[Array, "..."]
    spectrum: Operator

    def __init__(self, thickness: Numbers, spectrum: Operator | Number | None = None) -> None:
        self.thickness = as_real(thickness)
        if not isinstance(thickness, Array) and not np.all(np.asarray(thickness) >= 0):
            raise ValueError(f"the thickness of ice in Å is not negative: {thickness}")
        self.spectrum = parkhurst_spectrum() if spectrum is None else as_operator(spectrum)

    def power(self, grid: ImageGrid) -> Float[Array, "... n h"]:
        """Return `P(k)`: the variance of a mode of the phase per pixel, `thickness · S / Δ²`."""
        density = self.spectrum(grid.frequencies()) / grid.pixel_size**2
        thickness = self.thickness[..., None, None]
        return thickness * density.reshape(*(1,) * self.thickness.ndim, *density.shape)

    def sample(self, key: jax.Array, count: int, grid: ImageGrid) -> Complex[Array, "b n h"]:
        """Draw phases of `count` fields of view, as half planes: real white noise, filtered."""
        white = white_noise(key, jnp.arange(count), grid.box).astype(grid.pixel_size.dtype)
        half, amplitude = half_plane(white), jnp.sqrt(self.power(grid))
        amplitude = amplitude.reshape(*(1,) * (3 - amplitude.ndim), *amplitude.shape)
        return half * amplitude.astype(half.dtype)

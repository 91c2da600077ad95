"""From a volume in a pose to the contrast of its image, by any theory of scattering.

| theory | specimen | lens |
|---|---|---|
| `linear` | a weak phase | contrast transfer: `C = −CTF · η` |
| `ewald` | a weak phase, thick: both sides of the Ewald sphere | contrast transfer |
| `weak-phase` | the wave `1 + iη` | wave transfer, `|ψ|²` |
| `eikonal` | the wave `exp iη` | wave transfer |
| `multislice` | the wave behind many thin slabs | wave transfer |

Contrast is the physical one, `I = 1 + 2C`.
"""

from typing import Literal, get_args

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from vitreous.geometry.fourier import half_plane, image_from_half_plane
from vitreous.geometry.resample import resample
from vitreous.geometry.waves import wave_of_turns
from vitreous.imaging.grid import ImageGrid
from vitreous.imaging.optics.lens import Optics
from vitreous.imaging.optics.transfer import (
    ewald_contrast,
    exit_wave,
    linear_contrast,
    wave_contrast,
)
from vitreous.imaging.pose import Pose
from vitreous.imaging.projection.ewald import project_ewald
from vitreous.imaging.projection.multislice import exit_wave_multislice
from vitreous.imaging.projection.project import project
from vitreous.imaging.volumes.base import Volume

Theory = Literal["linear", "ewald", "weak-phase", "eikonal", "multislice"]
THEORIES: tuple[str, ...] = get_args(Theory)


def _axis_waves(k: np.ndarray, turns: Float[Array, " b"], box: int) -> Complex[Array, "b k"]:
    wave = wave_of_turns(-jnp.asarray(k, turns.dtype)[None] * turns[:, None])
    nyquist = jnp.asarray(2 * np.abs(k) == box)[None]
    return jnp.where(nyquist, wave.real.astype(wave.dtype), wave)


def shift_factor(
    grid: ImageGrid, shift: Float[Array, "b 2"], whole: bool = False
) -> Complex[Array, "b n h"]:
    """Return the factors that move images by `shift` Å, on half planes or whole planes.

    At the Nyquist frequency of an even box one wave stands for two, which move opposite ways: its
    factor is their mean, the cosine.
    """
    n = grid.box
    turns = shift / grid.extent
    rows = np.fft.ifftshift(np.arange(n) - n // 2)
    columns = rows if whole else np.arange(grid.columns)
    x, y = _axis_waves(columns, turns[:, 0], n), _axis_waves(rows, turns[:, 1], n)
    return y[:, :, None] * x[:, None, :]


def _of_images(values: Float[Array, "..."]) -> Float[Array, "..."]:
    """Give one number, or one an image, the axes of images."""
    return values.reshape(-1, 1, 1)


def image_contrast(
    volume: Volume,
    pose: Pose,
    grid: ImageGrid,
    optics: Optics,
    theory: Theory = "linear",
    method: str = "auto",
    slabs: int = 16,
    ice: Complex[Array, "b n h"] | None = None,
) -> Complex[Array, "b n h"]:
    """Return half planes of the contrast `C` of a batch of poses.

    **Arguments:** `method`: of `project`, for the theories that use projections. `slabs`: of
    multislice, which fills the side of the image with them and computes on pixels 1.5 times as
    fine. `ice`: half planes of phases added to those of the specimen.

    **Raises:** `ValueError` if Ewald or multislice images differ in voltage.
    """
    rotation = optics.distorted(pose.rotation)
    interaction = _of_images(optics.interaction)
    if theory in ("ewald", "multislice") and optics.voltage.ndim:
        raise ValueError(f"theory {theory!r} takes one voltage for all images of a batch")
    if theory == "multislice":
        fine = grid.refined(1.5)
        wave = exit_wave_multislice(
            volume, rotation, fine, optics.voltage, slabs, None, _one(optics.amplitude_contrast)
        )
        moved = jnp.fft.fft2(wave - 1) * shift_factor(fine, pose.shift, whole=True)
        wave = 1 + jnp.fft.ifft2(moved)
        if ice is not None:
            veil = resample(image_from_half_plane(ice, grid.box), fine.box, 2)
            wave = wave * exit_wave(veil, optics, "eikonal")
        return _resampled(wave_contrast(wave, optics, fine, pose.z_offset), fine, grid)
    if theory == "ewald":
        sides = project_ewald(volume, rotation, grid, optics.voltage)
    else:
        half = project(volume, rotation, grid, method)
        sides = (half, half)
    factor = shift_factor(grid, pose.shift)
    factor = factor * interaction.astype(factor.dtype)
    plus, minus = (side * factor for side in sides)
    if ice is not None:
        plus, minus = plus + ice, minus + ice
    if theory == "ewald":
        return ewald_contrast(plus, minus, optics, grid, pose.z_offset)
    if theory == "linear":
        return linear_contrast(plus, optics, grid, pose.z_offset)
    wave = exit_wave(image_from_half_plane(plus, grid.box), optics, theory)
    return wave_contrast(wave, optics, grid, pose.z_offset)


def _one(value: Float[Array, "..."]) -> Float[Array, ""]:
    if value.ndim:
        raise ValueError("multislice takes one amplitude contrast for all images of a batch")
    return value


def _resampled(
    half: Complex[Array, "b m g"], fine: ImageGrid, grid: ImageGrid
) -> Complex[Array, "b n h"]:
    """Keep the frequencies of a coarser grid of the same extent; the mean of images is kept."""
    return half_plane(resample(image_from_half_plane(half, fine.box), grid.box, 2))

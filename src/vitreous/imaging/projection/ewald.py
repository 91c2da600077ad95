"""The curvature of the Ewald sphere: what a beam integral leaves out in thick specimens.

A wave scattered by `k` leaves along the sphere, so the image at `k` mixes the transform of the
specimen at `kz = +½λk²` and `kz = −½λk²`: depth acts as defocus. The beam runs along +z, so density
at larger z is seen at a larger underfocus.
"""

import jax.numpy as jnp
from jaxtyping import Array, Complex, Float

from vitreous.imaging.ctf import electron_wavelength
from vitreous.imaging.grid import ImageGrid
from vitreous.imaging.slicing import rotated_frequencies
from vitreous.imaging.volumes.base import Volume


def project_ewald(
    volume: Volume, rotation: Float[Array, "b 3 3"], grid: ImageGrid, voltage: float | Array
) -> tuple[Complex[Array, "b n h"], Complex[Array, "b n h"]]:
    """Read the transform of a volume on both sides of the Ewald sphere.

    **Arguments:** `voltage` in kV; the rest as for `project`. For a specimen of the other hand, or
    a beam along −z, exchange the two results.

    **Returns:** `plus` at `kz = +½λk²` and `minus` at `kz = −½λk²`, half planes in Å⁻¹: both
    would be those of `project` if the sphere were flat. Times `λγ`, they are what
    `optics.transfer.ewald_contrast` makes an image of.
    """
    k = grid.frequencies().reshape(-1, 2).astype(rotation.dtype)
    wavelength = electron_wavelength(jnp.asarray(voltage, rotation.dtype))
    height = 0.5 * wavelength * jnp.sum(k * k, axis=-1)
    flat = rotated_frequencies(rotation, k)
    bent = height[None, :, None] * rotation[:, 2][:, None]

    def half(points: Float[Array, "b p 3"]) -> Complex[Array, "b n h"]:
        values = volume.transform_at(points).reshape(-1, grid.box, grid.columns)
        return values / (grid.pixel_size**2).astype(values.dtype)

    return half(flat + bent), half(flat - bent)

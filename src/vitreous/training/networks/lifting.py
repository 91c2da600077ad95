"""Lift an image into the frame of the molecule: what it says about every coarse voxel.

An encoder that sees pixels must learn each motion once for every viewing direction. The pose is
known, so we do it for the network: the matched-filtered difference between image and consensus is
low-passed, back in real space, and read where each voxel of a coarse grid projects to. A linear
layer on these numbers is an inner product with a learned volume, whatever the view.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from vitreous.geometry.fourier_pixels import FourierPixels


class Lifting(eqx.Module):
    """Read band-limited images at the projections of coarse voxels.

    **Fields:** `box`: side of the full image. `band`: outermost shell used. `radius`: of the
    sphere of voxels, in pixels of the full image.
    """

    box: int = eqx.field(static=True)
    band: int = eqx.field(static=True)
    radius: float = eqx.field(static=True)

    @property
    def voxels(self) -> np.ndarray:
        """Positions `(x, y, z)` from the box centre in pixels, one per Nyquist interval."""
        step = self.box / self.coarse_box
        count = int(self.radius / step)
        axis = np.arange(-count, count + 1, dtype=np.float32) * np.float32(step)
        grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
        return grid[np.linalg.norm(grid, axis=1) <= self.radius]

    @property
    def coarse_box(self) -> int:
        """Side of the low-passed image: holds the band, and a margin for interpolation."""
        return 2 * self.band + 4

    def __call__(
        self, matched: Complex[Array, "b q"], rotation: Float[Array, "b 3 3"]
    ) -> Float[Array, "b v"]:
        """Lift images given as their leading Fourier pixels (shells 1 … band).

        **Arguments:** `matched`: centred pixels in units of the noise. `rotation`: volume to
        image.
        """
        size, b = self.coarse_box, matched.shape[0]
        pixels = FourierPixels(self.box, self.band)
        k = pixels.frequency.astype(int)
        half = jnp.zeros((b, size, size // 2 + 1), matched.dtype)
        half = half.at[:, k[:, 1] % size, k[:, 0]].set(matched)
        image = jnp.fft.fftshift(jnp.fft.irfft2(half, s=(size, size)), (-2, -1)) * size
        flat = image.reshape(b, size * size)

        position = jnp.einsum("bij,vj->bvi", rotation[:, :2], jnp.asarray(self.voxels))
        position = position * (size / self.box) + size // 2
        corner = jnp.clip(jnp.floor(position), 0, size - 2)
        fraction = position - corner
        column, row = (corner[..., i].astype(jnp.int32) for i in range(2))
        start = row * size + column
        fx, fy = fraction[..., 0], fraction[..., 1]

        def read(offset: int) -> Float[Array, "b v"]:
            return jnp.take_along_axis(flat, start + offset, axis=1)

        upper = read(0) * (1 - fx) + read(1) * fx
        lower = read(size) * (1 - fx) + read(size + 1) * fx
        return upper * (1 - fy) + lower * fy

"""Gaussians projected in Fourier space, where every one is a product of a row and a column.

A sum of outer products is a matrix product: as many operations as one in real space, but nothing
is aliased or cut off however narrow the Gaussians, and no transform is left to do.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from vitreous.geometry.waves import wave_of_turns
from vitreous.imaging.gaussians import GaussianAtoms, in_pieces, lab_frame
from vitreous.imaging.grid import ImageGrid


def _waves(
    place: Float[Array, " m"], decay: Float[Array, "m k"], count: int, extent: Float[Array, ""]
) -> Complex[Array, "g c"]:
    """Tabulate the transforms of unit Gaussians along an axis, at 0 … count − 1 cycles/extent."""
    k = jnp.arange(count, dtype=place.dtype)[None]
    waves = wave_of_turns(-k * (place / extent)[:, None])
    size = jnp.exp(-decay.reshape(-1, 1) * (k * k))
    size = size.reshape(*decay.shape, count)
    waves = waves[:, None] * size.astype(waves.dtype)
    return waves.reshape(-1, count)


def project_separably(
    atoms: GaussianAtoms, rotation: Float[Array, "b 3 3"], grid: ImageGrid, chunk: int = 4096
) -> Complex[Array, "b n h"]:
    """Project Gaussians onto half planes, exactly for any width.

    **Arguments:** `chunk`: atoms at a time, to bound the memory.

    **Returns:** the continuous transform of the beam integrals, divided by the pixel area: that of
    the band-limited images. Amplitudes in Å give Å⁻¹.
    """
    n, h = grid.box, grid.columns
    position, amplitude, variance = (jnp.asarray(field) for field in atoms)
    extent = grid.extent.astype(position.dtype)
    weights = in_pieces(amplitude, chunk)
    decays = in_pieces((2 * np.pi**2) * variance / extent**2, chunk)

    @jax.checkpoint
    def add(total, part):
        points, weight, decay = part
        columns = _waves(points[:, 0], decay, h, extent)
        columns = columns * weight.reshape(-1, 1).astype(columns.dtype)
        rows = _waves(points[:, 1], decay, h, extent)
        # Real products only: rows of −ky are conjugates of those of ky, so the four serve both.
        left = jnp.concatenate([rows.real, rows.imag], axis=1)
        right = jnp.concatenate([columns.real, columns.imag], axis=1)
        return total + jnp.matmul(left.T, right, precision="highest"), None

    def one(points: Float[Array, "m 3"]) -> Complex[Array, "n h"]:
        parts = (in_pieces(points, chunk), weights, decays)
        product = jax.lax.scan(add, jnp.zeros((2 * h, 2 * h), points.dtype), parts)[0]
        cc, cs = product[:h, :h], product[:h, h:]
        sc, ss = product[h:, :h], product[h:, h:]
        upper = jax.lax.complex(cc - ss, cs + sc)
        lower = jax.lax.complex(cc + ss, cs - sc)
        return jnp.concatenate([upper[: (n + 1) // 2], lower[n // 2 : 0 : -1]])

    half = jax.lax.map(one, lab_frame(atoms, rotation))
    return half / (extent / n).astype(half.dtype) ** 2

"""Read images where voxels lie in them, and its transpose: one place an image and voxel.

A voxel that lies at `x + δ` in the molecule of an image is seen at `(R (x + δ))_xy`. Reading all
images there and adding up is the adjoint of projecting a deformed map. Images are sampled twice as
finely and compensated for the bilinear kernel, so that its loss, 19 % at the Nyquist frequency, is
none; what aliases is different in every image and averages out.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

# Images are sampled this many times as finely as they come.
FINER = 2


def _compensation(box: int) -> Float[np.ndarray, "f h"]:
    """Return what undoes the bilinear kernel on the half plane of finer images."""
    fine = FINER * box
    rows = np.fft.fftfreq(fine)
    columns = np.arange(fine // 2 + 1) / fine
    kernel = np.sinc(rows)[:, None] ** 2 * np.sinc(columns)[None] ** 2
    # Beyond the images' own band there is nothing to compensate.
    return (1 / np.maximum(kernel, 0.1)).astype(np.float32)


def fine_images(half: Complex[Array, "b n h"]) -> Float[Array, "b f f"]:
    """Sample images twice as finely, ready to be read between pixels.

    **Arguments:** `half`: half planes without a Nyquist row or column, centred phases.
    """
    box = half.shape[-2]
    fine = FINER * box
    low = (box + 1) // 2
    wide = jnp.zeros((len(half), fine, fine // 2 + 1), half.dtype)
    wide = wide.at[:, :low, : half.shape[-1]].set(half[:, :low])
    wide = wide.at[:, fine - (box - low) :, : half.shape[-1]].set(half[:, low:])
    wide = wide * jnp.asarray(_compensation(box) * FINER**2).astype(half.dtype)[None]
    return jnp.fft.fftshift(jnp.fft.irfft2(wide, s=(fine, fine)), (-2, -1))


def half_planes_of(fine: Float[Array, "b f f"]) -> Complex[Array, "b n h"]:
    """Go from finer images back to half planes: what `spread` left, as its pixels stand for it."""
    size = fine.shape[-1]
    box = size // FINER
    low = (box + 1) // 2
    wide = jnp.fft.rfft2(jnp.fft.ifftshift(fine, (-2, -1)))
    wide = wide * jnp.asarray(_compensation(box)).astype(wide.dtype)[None]
    columns = wide[..., : box // 2 + 1]
    return jnp.concatenate([columns[:, :low], columns[:, size - (box - low) :]], axis=1)


def corner_table(image: Float[Array, "f f"]) -> Float[Array, "p 4"]:
    """Lay the four corners of each cell of pixels side by side: one read finds them all."""
    right = jnp.roll(image, -1, axis=1)
    corners = [image, right, jnp.roll(image, -1, axis=0), jnp.roll(right, -1, axis=0)]
    return jnp.stack(corners, axis=-1).reshape(-1, 4)


def cells(place: Float[Array, "v 2"], size: int) -> tuple[Array, Float[Array, "v 4"]]:
    """Find the cell of pixels around each place and the weights of its corners.

    **Arguments:** `place`: `(x, y)` in fine pixels from the centre, index `size // 2`.
    """
    u = place + size // 2
    lower = jnp.floor(u)
    f = u - lower
    x, y = f[:, 0], f[:, 1]
    cell = lower.astype(jnp.int32)
    inside = jnp.all((cell >= 0) & (cell < size - 1), axis=-1)
    weights = jnp.stack([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y], axis=-1)
    weights = jnp.where(inside[:, None], weights, 0)
    cell = jnp.clip(cell, 0, size - 2)
    return cell[:, 1] * size + cell[:, 0], weights


def read_at(table: Float[Array, "p 4"], place: Float[Array, "v 2"]) -> Float[Array, " v"]:
    """Read an image at places, bilinearly; 0 outside it."""
    size = int(np.sqrt(len(table)))
    cell, weights = cells(place, size)
    return jnp.sum(table.at[cell].get(mode="promise_in_bounds") * weights, axis=-1)


def spread_at(
    values: Float[Array, " v"], place: Float[Array, "v 2"], size: int
) -> Float[Array, "f f"]:
    """Add values to an image at places: the transpose of reading it there."""
    cell, weights = cells(place, size)
    table = jnp.zeros((size * size, 4), values.dtype)
    table = table.at[cell].add(values[:, None] * weights, mode="promise_in_bounds")
    corners = table.reshape(size, size, 4)
    total = corners[..., 0] + jnp.roll(corners[..., 1], 1, axis=1)
    below = corners[..., 2] + jnp.roll(corners[..., 3], 1, axis=1)
    return total + jnp.roll(below, 1, axis=0)


def seen_at(
    rotation: Float[Array, "3 3"], points: Float[Array, "v 3"], fine_pixel: Float[Array, ""]
) -> Float[Array, "v 2"]:
    """Return where points (Å) lie in an image, in fine pixels from its centre."""
    # Written out: a matrix product could run in reduced precision on an accelerator.
    p, r = points / fine_pixel, rotation
    return jnp.stack(
        [p[:, 0] * r[k, 0] + p[:, 1] * r[k, 1] + p[:, 2] * r[k, 2] for k in range(2)], axis=-1
    )

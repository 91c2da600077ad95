"""Undo the CTF that a program multiplied its images with, as RELION 5 does by default.

Such an image is `c (c V + n)`: its noise has the shape of the CTF, and nothing tells the sign of
`c` any more. Divided by `c` it is as it was recorded, but near the zeros of `c`, where it is faint.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32

from vitreous.geometry.fourier import frequencies, half_plane, image_from_half_plane
from vitreous.imaging.ctf import CTFParameters, evaluate_ctf

# Below this share of its scale a CTF is not divided by: noise beyond it would only grow.
_FAINT = 0.1


def undo_ctf(
    images: Float32[np.ndarray, "b n n"],
    ctf: CTFParameters,
    pixel_size: Float[np.ndarray, " b"],
) -> Float32[np.ndarray, "b n n"]:
    """Divide images by their CTF where it is at least a tenth of its scale; the mean stays."""
    undone = np.empty_like(images)
    # One image at a time: one compiled program for any number. Readers work on the host.
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        for row, image in enumerate(images):
            fields = CTFParameters(*(jnp.asarray(field[row], jnp.float32) for field in ctf))
            undone[row] = _undo(image, fields, jnp.asarray(pixel_size[row], jnp.float32))
    return undone


@jax.jit
def _undo(
    image: Float[Array, "n n"], ctf: CTFParameters, pixel_size: Float[Array, ""]
) -> Float[Array, "n n"]:
    box = image.shape[0]
    k = jnp.asarray(frequencies(box, 2, half=True).reshape(-1, 2)) / (box * pixel_size)
    c = evaluate_ctf(k, ctf)
    floor = jnp.square(_FAINT * ctf.scale)
    factor = c / jnp.maximum(c * c, floor)
    # The mean is no signal, and the CTF there is small.
    factor = jnp.where(jnp.sum(k * k, axis=-1) > 0, factor, 1.0)
    plane = half_plane(image)
    return image_from_half_plane(plane * factor.reshape(plane.shape).astype(plane.dtype), box)

"""Undo the CTF that a program multiplied its images with, as RELION 5 does by default.

Such an image is `c (c V + n)`: its noise has the shape of the CTF, and nothing tells the sign of
`c` any more. Divided by `c` it is as it was recorded, but near the zeros of `c`, where it is faint.
In tilt series `c` is the CTF times the decay by the dose: RELION's subtomogram program multiplies
by both at once (github.com/3dem/relion/issues/976 quotes the line), and one flag stands for both.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32

from vitreous.geometry.fourier import frequencies, half_plane, image_from_half_plane
from vitreous.imaging.ctf import CTFParameters, evaluate_ctf
from vitreous.imaging.dose import dose_decay

# Below this share of its scale a CTF is not divided by: noise beyond it would only grow.
_FAINT = 0.1


def undo_ctf(
    images: Float32[np.ndarray, "b n n"],
    ctf: CTFParameters,
    pixel_size: Float[np.ndarray, " b"],
    dose: Float[np.ndarray, " b"] | None = None,
) -> Float32[np.ndarray, "b n n"]:
    """Divide images by what they were multiplied with; the mean stays.

    **Arguments:** `dose` (e/Å²): of images that were also weighted by their decay.

    **Returns:** the images as recorded, where the factor was at least a tenth of the CTF's scale.
    """
    dose = np.zeros(len(images), np.float32) if dose is None else dose
    undone = np.empty_like(images)
    # One image at a time: one compiled program for any number. Readers work on the host.
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        for row, image in enumerate(images):
            fields = CTFParameters(*(jnp.asarray(field[row], jnp.float32) for field in ctf))
            size, given = (jnp.asarray(x[row], jnp.float32) for x in (pixel_size, dose))
            undone[row] = _undo(image, fields, size, given)
    return undone


@jax.jit
def _undo(
    image: Float[Array, "n n"],
    ctf: CTFParameters,
    pixel_size: Float[Array, ""],
    dose: Float[Array, ""],
) -> Float[Array, "n n"]:
    box = image.shape[0]
    k = jnp.asarray(frequencies(box, 2, half=True).reshape(-1, 2)) / (box * pixel_size)
    c = evaluate_ctf(k, ctf) * dose_decay(k, dose, jnp.asarray(ctf.voltage))
    floor = jnp.square(_FAINT * ctf.scale)
    factor = c / jnp.maximum(c * c, floor)
    # The mean is no signal, and the CTF there is small.
    factor = jnp.where(jnp.sum(k * k, axis=-1) > 0, factor, 1.0)
    plane = half_plane(image)
    return image_from_half_plane(plane * factor.reshape(plane.shape).astype(plane.dtype), box)

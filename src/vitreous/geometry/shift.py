"""Shift images in Fourier space, and crop or pad arrays about their centre."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from vitreous.geometry.rotations import AnyArray
from vitreous.geometry.waves import wave_of_turns


def phase_shift(
    frequency: Float[Array, "... p d"], shift: Float[Array, "... d"]
) -> Complex[Array, "... p"]:
    """Return `exp(−2πi k·t)`, the factor that moves density by `+shift`.

    **Arguments:** `frequency` in cycles/Å and `shift` in Å, or cycles/pixel and pixels; their
    leading batch axes broadcast.
    """
    # Full precision: accelerators would otherwise shorten the products, hence the phases.
    turns = jnp.einsum("...pd,...d->...p", frequency, shift, precision="highest")
    return wave_of_turns(-turns)


def crop_centered(x: AnyArray, size: int, dimensions: int) -> AnyArray:
    """Crop or zero-pad the last axes to `size` about their centres (`n // 2`), any parity."""
    for axis in range(-dimensions, 0):
        n = x.shape[axis]
        start = n // 2 - size // 2
        if size <= n:
            x = x[(..., slice(start, start + size)) + (slice(None),) * (-axis - 1)]
        else:
            widths = [(0, 0)] * x.ndim
            widths[axis] = (-start, size - n + start)
            x = np.pad(x, widths) if isinstance(x, np.ndarray) else jnp.pad(x, widths)
    return x

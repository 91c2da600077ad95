"""Maps at one sharpness and a small box, as the Flatiron challenge compares sets of them."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from vitreous.geometry.resample import resample
from vitreous.geometry.shells import shell_index

Maps = Float[np.ndarray, "m n n n"]
# Of the challenge: Å², and voxels.
B_FACTOR, COARSE = 170.0, 16


def normalise_b_factor(maps: Maps, voxel_size: float, b_factor: float = B_FACTOR) -> Maps:
    """Give every shell of every map the root-mean-square amplitude `exp(−B k² / 4)`.

    Maps then differ in where their density lies, not in how programs sharpened or filtered them.
    Shells without power stay empty.

    **Arguments:** `voxel_size`: Å. `b_factor`: Å².

    **Source:** Astore et al. (2025), inaugural Flatiron heterogeneity challenge, whose B is 170 Å²;
    the formula is our reading of "B-factor normalised".
    """
    n = maps.shape[-1]
    shell = shell_index(n, 3)
    count = np.bincount(shell.ravel())
    k = np.arange(len(count)) / (n * voxel_size)
    wanted = np.exp(-b_factor * k**2 / 4)
    made = np.empty(maps.shape, np.float32)
    for place, one in enumerate(maps):
        transform = np.fft.fftshift(np.fft.fftn(one.astype(np.float64)))
        power = np.bincount(shell.ravel(), weights=np.abs(transform.ravel()) ** 2) / count
        # What single precision leaves in an empty shell is no signal.
        is_empty = power <= 1e-13 * power.max(initial=0)
        factor = np.where(is_empty, 0, wanted / np.sqrt(np.where(is_empty, 1, power)))
        made[place] = np.fft.ifftn(np.fft.ifftshift(transform * factor[shell])).real
    return made


def subspace_maps(
    maps: Maps, voxel_size: float, b_factor: float = B_FACTOR, box: int = COARSE
) -> Float[np.ndarray, "m b b b"]:
    """Bring maps to one sharpness and a box of `box`, for `map_to_map.captured_variance`."""
    sharp = normalise_b_factor(maps, voxel_size, b_factor)
    if box >= maps.shape[-1]:
        return sharp
    return np.stack([np.asarray(resample(jnp.asarray(one), box, 3)) for one in sharp])

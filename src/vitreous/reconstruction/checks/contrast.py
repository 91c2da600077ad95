"""Is density white or dark? A map of a molecule has few bright voxels and many faint ones."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vitreous.geometry.fourier import coordinates, half_space, volume_from_half_space
from vitreous.reconstruction.fsc import fsc_shells

ContrastVerdict = Literal["white", "dark", "undetermined"]
# Skewness of the density inside the sphere, far above what noise reaches in a map.
_CLEAR_SKEW = 0.7
# t value of the images' centres being brighter than their surroundings.
_CLEAR_EXCESS = 5.0


def skewness(volume: Float[np.ndarray, "n n n"]) -> float:
    """Return the skewness of a map inside its inscribed sphere: positive for compact density."""
    box = volume.shape[0]
    inside = np.linalg.norm(coordinates(box, 3), axis=-1) < 0.45 * box
    values = np.asarray(volume, np.float64)[inside]
    values = values - values.mean()
    spread = np.sqrt(np.mean(values**2))
    return float(np.mean(values**3) / spread**3) if spread > 0 else 0.0


def centre_t_value(excess: Float[np.ndarray, " n"]) -> float:
    """Return the mean of the images' centre excess in units of its standard error."""
    if len(excess) < 2 or excess.std() == 0:
        return 0.0
    return float(excess.mean() / excess.std(ddof=1) * np.sqrt(len(excess)))


@jax.jit
def keep_signal(
    volumes: Float[Array, "m n n n"], fsc: Float[Array, " shells"]
) -> Float[Array, "m n n n"]:
    """Filter maps by what their halves agree on: noise of high shells would hide a skewness."""
    box = volumes.shape[-1]
    share = jnp.concatenate([jnp.clip(fsc, 0, 1), jnp.zeros(1, fsc.dtype)])
    shell = jnp.asarray(np.minimum(fsc_shells(box), len(fsc)))
    return volume_from_half_space(
        half_space(volumes) * share[shell].astype(jnp.complex64)[None], box
    )


def decide_contrast(
    half_maps: Float[np.ndarray, "2 n n n"], excess: Float[np.ndarray, " images"]
) -> tuple[ContrastVerdict, float, float]:
    """Decide the contrast of the images from maps made as if they were white.

    **Arguments:** `excess`: see `Sample.centre_excess`.

    **Returns:** the verdict, the skewness and the t value of the image centres. The maps decide
    where both halves are clearly skewed alike, else the image centres; a contradiction between
    weakly skewed maps and clear centres stays open.
    """
    skews = [skewness(volume) for volume in half_maps]
    skew = skewness(half_maps[0] + half_maps[1])
    t_value = centre_t_value(excess)
    agree = min(skews) > 0 or max(skews) < 0
    clear_map = agree and abs(skew) > _CLEAR_SKEW
    clear_centre = abs(t_value) > _CLEAR_EXCESS
    if clear_map and not (clear_centre and skew * t_value < 0 and abs(skew) < 2 * _CLEAR_SKEW):
        return ("white" if skew > 0 else "dark"), skew, t_value
    if clear_centre and not clear_map:
        return ("white" if t_value > 0 else "dark"), skew, t_value
    return "undetermined", skew, t_value

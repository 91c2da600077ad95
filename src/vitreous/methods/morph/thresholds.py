"""Where a molecule ends: contour levels chosen from a map, and from how much another encloses."""

import numpy as np
from jaxtyping import Float

from vitreous.errors import InputError
from vitreous.maps import Map
from vitreous.methods.morph.sharpness import blur

# Share of the brightest density below which a noise-free map is cut.
_SHARE = 0.15
# Gaussians (σ in voxels) tried, in turn, against noise that hides a molecule.
_SMOOTHING = (0.0, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8)


def automatic_level(density: Float[np.ndarray, "z y x"]) -> float:
    """Choose a level above the solvent's noise and above 15 % of the brightest density.

    The solvent is what lies outside the ellipsoid inscribed in the box; its spread is the median
    absolute deviation, which the tails of a molecule do not move.
    """
    axes = [(np.arange(n) - n // 2) / (0.5 * n) for n in density.shape]
    square = axes[0][:, None, None] ** 2 + axes[1][:, None] ** 2 + axes[2] ** 2
    outside = density[square > 0.9]
    solvent, spread = 0.0, 0.0
    if len(outside):
        solvent = float(np.median(outside))
        spread = 1.4826 * float(np.median(np.abs(outside - solvent)))
    top = float(np.percentile(density, 100 * (1 - min(0.001, 20 / density.size))))
    return max(_SHARE * top, solvent + 4 * spread)


def noise_level(density: Float[np.ndarray, "z y x"]) -> float:
    """Give four deviations of the solvent, the least level at which noise does not show."""
    top = _SHARE * float(np.percentile(density, 100 * (1 - min(0.001, 20 / density.size))))
    level = automatic_level(density)
    return level if level > top else 0.0


def level_enclosing(density: Float[np.ndarray, "z y x"], voxels: float) -> float:
    """Find the level above which a given number of voxels lies."""
    count = int(np.clip(round(voxels), 1, density.size))
    return float(np.partition(density, density.size - count, axis=None)[density.size - count])


def find_molecule(a_map: Map, volume: float) -> tuple[Map, float, float]:
    """Find the level that encloses a volume (Å³), in a map blurred until its noise lies below it.

    A cut through noise keeps the brightest spots of a molecule and loses its shape.

    **Returns:** the map, the level, and σ (Å) of the blur, 0 for most maps.
    """
    for width in _SMOOTHING:
        soft = blur(a_map, width * a_map.voxel_size)
        enclosing = level_enclosing(soft.data, volume / a_map.voxel_size**3)
        noise = noise_level(soft.data)
        if noise <= enclosing:
            break
    level = max(enclosing, noise, 1e-3 * float(soft.data.max()))
    return soft, level, width * a_map.voxel_size


def cut(a_map: Map, level: float, name: str) -> Map:
    """Set everything below a level to zero; what stays keeps its value.

    **Raises:** `InputError` if nothing stays.
    """
    data = np.where(a_map.data >= max(level, 1e-6), a_map.data, 0).astype(np.float32)
    if not data.any():
        raise InputError(
            f"{name}: nothing reaches the threshold {level:.4g} "
            f"(the highest voxel is {a_map.data.max():.4g}); lower it or leave it out"
        )
    return Map(data, a_map.voxel_size, a_map.origin)

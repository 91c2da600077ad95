"""Where a molecule moves and where it rests, as soft masks, from the amplitude of its motion."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from vitreous.geometry.edges import falling_edge
from vitreous.reconstruction.fsc_correction import TIGHT_MASK
from vitreous.reconstruction.masks import mask_from_map

# A motion of less than this share of a voxel changes no map.
_NOTICED = 0.25
# The moving part goes at least this share as far as the fastest twentieth of the molecule.
_SHARE = 0.5
# Width of the masks' edges in voxels.
_EDGE = 4.0
# A part of fewer voxels has no FSC to speak of.
_FEWEST = 50


class Regions(NamedTuple):
    """Hold soft masks.

    **Fields:** `whole`: the molecule. `moving` and `still`: its parts, `None` where there is no
    such part. `reach` (Å): root mean square motion, and `share` of the molecule, in each of them.
    """

    whole: Float[np.ndarray, "n n n"]
    moving: Float[np.ndarray, "n n n"] | None
    still: Float[np.ndarray, "n n n"] | None
    reach: dict[str, float]
    share: dict[str, float]

    def masks(self) -> dict[str, Float[np.ndarray, "n n n"]]:
        """Return the masks there are, by name."""
        named = {"whole": self.whole, "moving": self.moving, "still": self.still}
        return {name: mask for name, mask in named.items() if mask is not None}


def find_regions(
    volume: Float[np.ndarray, "n n n"], amplitude: Float[np.ndarray, "n n n"], voxel_size: float
) -> Regions:
    """Divide a molecule by how far it moves.

    **Arguments:** `volume`: in which the molecule is found. `amplitude` (Å): of each voxel.
    """
    whole = mask_from_map(volume, voxel_size, None, *TIGHT_MASK)
    core = whole > 0.5
    if not core.any():
        return Regions(np.ones_like(volume), None, None, {"whole": 0.0}, {"whole": 1.0})
    reach = {"whole": _rms(amplitude, core)}
    fast = float(np.percentile(amplitude[core], 95))
    if fast < _NOTICED * voxel_size:
        return Regions(whole, None, None, reach, {"whole": 1.0})
    moves = core & (amplitude >= _SHARE * fast)
    found: dict[str, Float[np.ndarray, "n n n"] | None] = {}
    share = {"whole": 1.0}
    for name, part in (("moving", moves), ("still", core & ~moves)):
        found[name] = soft_region(part) if part.sum() >= _FEWEST else None
        if part.any():
            reach[name], share[name] = _rms(amplitude, part), float(part.sum() / core.sum())
    return Regions(whole, found["moving"], found["still"], reach, share)


def _rms(amplitude: np.ndarray, part: np.ndarray) -> float:
    return float(np.sqrt(np.mean(amplitude[part].astype(np.float64) ** 2)))


def soft_region(part: np.ndarray) -> Float[np.ndarray, "n n n"]:
    """Give a region (bool) a soft edge of four voxels outside it."""
    from scipy import ndimage  # a quarter of a second to import, and needed by few

    distance = ndimage.distance_transform_edt(~part)
    return falling_edge(distance, _EDGE).astype(np.float32)

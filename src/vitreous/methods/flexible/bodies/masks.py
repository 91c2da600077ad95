"""Masks of bodies: read, checked, made disjoint, and turned into shares that add up to 1."""

import logging
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from vitreous.errors import InputError
from vitreous.geometry.edges import falling_edge
from vitreous.maps import read_map
from vitreous.reconstruction.masks import automatic_threshold

logger = logging.getLogger(__name__)

# Masks may share this much of the smaller one: edges touch. More is a mistake.
_OVERLAP = 0.1


def read_body_masks(
    folder: str | Path,
    box: int,
    voxel_size: float,
    density: Float[np.ndarray, "n n n"] | None = None,
) -> Bool[np.ndarray, "k n n n"]:
    """Read every `*mask*.mrc` of a folder, in the order of their names, as disjoint bodies.

    A voxel above 0.5 in two masks that touch belongs to the first.

    **Arguments:** `box`, `voxel_size` (Å) of the particles. `density`: the consensus map.

    **Raises:** `InputError` if there are none, one has another box or voxel size, is empty,
    overlaps another by more than its edge, or holds nothing of the map.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"--deformation-masks {folder}: no such folder")
    # Soft masks of the same bodies, as `compute-masks-for-rigid-transforms` writes them beside.
    files = [f for f in sorted(folder.glob("*mask*.mrc")) if not f.name.startswith("smooth")]
    if not files:
        raise InputError(f"{folder}: holds no mask: files are to be named *mask*.mrc")
    level = None if density is None else automatic_threshold(density)
    bodies: list[np.ndarray] = []
    for file in files:
        found = read_map(file)
        if found.data.shape != (box,) * 3 or abs(found.voxel_size / voxel_size - 1) > 0.01:
            raise InputError(
                f"{file}: {found.data.shape[0]}³ voxels of {found.voxel_size:.4g} Å; the "
                f"particles have a box of {box} of {voxel_size:.4g} Å: resample the mask"
            )
        mask = found.data > 0.5
        if not mask.any():
            raise InputError(f"{file}: no voxel is above 0.5: the mask is empty")
        for other, name in zip(bodies, files, strict=False):
            common = int((mask & other).sum())
            if common > _OVERLAP * min(int(mask.sum()), int(other.sum())):
                raise InputError(
                    f"{file}: {common} of its {int(mask.sum())} voxels lie in {name.name} too; "
                    "masks of bodies must not overlap"
                )
        if density is not None and not (density[mask] > level).any():
            raise InputError(f"{file}: misses the map: none of its density lies in this mask")
        taken = np.any(bodies, axis=0) if bodies else np.zeros_like(mask)
        bodies.append(mask & ~taken)
    logger.info("%d bodies from %s", len(bodies), folder)
    return np.stack(bodies)


def body_shares(
    masks: Bool[np.ndarray, "k n n n"], voxel_size: float, seam: float = 8.0
) -> Float[np.ndarray, "k n n n"]:
    """Give every voxel its share in each body.

    **Arguments:** `seam`: Å over which a body gives way to its neighbour, and over which all of
    them give way to what belongs to none.

    **Returns:** 0 to 1; within the masks, and away from them by no more than the seam falls off,
    shares add up to 1.
    """
    distance = np.stack([_signed_distance(mask, voxel_size) for mask in masks])
    # The difference of two distances changes by 2 Å an Å across a seam.
    lead = -(distance - distance.min(axis=0, keepdims=True)) / (0.5 * max(seam, voxel_size))
    share = np.exp(np.maximum(lead, -50.0))
    share /= share.sum(axis=0, keepdims=True)
    solvent = np.logical_not(masks.any(axis=0)).astype(np.uint8)
    beyond = ndimage.distance_transform_edt(solvent, sampling=voxel_size)
    return (share * falling_edge(beyond - voxel_size, max(seam, voxel_size))[None]).astype(
        np.float32
    )


def _signed_distance(
    mask: Bool[np.ndarray, "n n n"], voxel_size: float
) -> Float[np.ndarray, "n n n"]:
    """Measure distance from the surface between voxels, negative inside, Å."""
    outside = ndimage.distance_transform_edt(~mask, sampling=voxel_size)
    inside = ndimage.distance_transform_edt(mask, sampling=voxel_size)
    return np.where(mask, 0.5 * voxel_size - inside, outside - 0.5 * voxel_size)


def shares_on_grid(
    shares: Float[np.ndarray, "k n n n"], voxel_size: float, largest: int
) -> tuple[Float[np.ndarray, "k m m m"], float]:
    """Sample shares on a coarser grid about the same centre, if theirs is finer than asked for.

    **Returns:** shares, and the grid's voxel size.
    """
    n = shares.shape[-1]
    if n <= largest:
        return shares, voxel_size
    step = n / largest
    place = (np.arange(largest) - largest // 2) * step + n // 2
    at = np.stack(np.meshgrid(place, place, place, indexing="ij"))
    coarse = [ndimage.map_coordinates(one, at, order=1, mode="nearest") for one in shares]
    return np.stack(coarse), voxel_size * step

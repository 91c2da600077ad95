"""The files of a reconstruction, under the names cryoDRGN users know."""

from pathlib import Path

import numpy as np

from vitreous.files import atomic_path
from vitreous.maps import write_map
from vitreous.reconstruction.curves import plot_curves, write_curves
from vitreous.reconstruction.fsc_correction import masked_curves
from vitreous.reconstruction.reconstruct import Reconstruction


def write_reconstruction(
    result: Reconstruction,
    output: Path,
    half_maps: bool = True,
    fsc: bool = True,
    sums: bool = False,
    seed: int = 0,
) -> None:
    """Write a reconstruction.

    **Arguments:** `output`: a folder for `backproject.mrc`, `half_map_a.mrc`, `half_map_b.mrc`,
    `fsc-vals.txt` and `fsc-plot.png`; or a name that ends in `.mrc`, for the map alone.
    `half_maps`, `fsc`: write those. `sums`: also write the sums and weights of both halves as
    `backproject.sums.npz`. `seed`: of the phase randomisation.
    """
    path = output if is_single_map(output) else output / "backproject.mrc"
    write_map(path, result.volume, result.voxel_size)
    if sums:
        with atomic_path(path.with_suffix(".sums.npz")) as temporary, temporary.open("wb") as file:
            numerator, weight = (np.asarray(part[:, 0]) for part in result.sums)
            np.savez(file, sums=numerator, counts=weight)
    if path == output or result.half_maps is None:
        return
    first, second = result.half_maps
    if half_maps:
        write_map(output / "half_map_a.mrc", first, result.voxel_size)
        write_map(output / "half_map_b.mrc", second, result.voxel_size)
    if fsc:
        box = len(result.volume)
        curves = masked_curves(first, second, result.volume, result.voxel_size, seed)
        write_curves(output / "fsc-vals.txt", curves, box)
        title = f"{result.images:,} images, {result.voxel_size:g} Å/voxel"
        plot_curves(output / "fsc-plot.png", curves, result.voxel_size, box, title)


def is_single_map(output: Path) -> bool:
    """Whether an output names one map instead of a folder."""
    return output.suffix.lower() == ".mrc"

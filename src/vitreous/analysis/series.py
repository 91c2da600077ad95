"""A series of volumes: decoded in batches, treated, written as maps, kept small for pictures."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from vitreous.analysis.chimerax import write_series_script
from vitreous.analysis.postprocess import VolumeOptions, fourier_crop, process_volume
from vitreous.analysis.view import surface_level
from vitreous.files import atomic_path
from vitreous.maps import write_map

Decode = Callable[[np.ndarray], np.ndarray]
Progress = Callable[[int, int], None]
# Pictures of 256 pixels show no more than this.
PICTURE_BOX = 96


@dataclass(frozen=True)
class Series:
    """What was written: where, the latent of each map, and the maps at picture size.

    `level`: contour for all of them, on the scale of the written maps.
    """

    folder: Path
    names: tuple[str, ...]
    z: Float[np.ndarray, "m d"]
    volumes: tuple[Float[np.ndarray, "k k k"], ...]
    level: float


def write_series(
    decode: Decode,
    z: Float[np.ndarray, "m d"],
    folder: Path,
    voxel_size: float,
    options: VolumeOptions | None = None,
    prefix: str = "vol_",
    first: int = 1,
    title: str = "volumes",
    is_path: bool = True,
    batch: int = 8,
    progress: Progress | None = None,
) -> Series:
    """Decode volumes and write `vol_001.mrc …`, `z_values.txt` and `series.cxc` into a folder.

    **Arguments:** `decode`: latents `(m, d)` → volumes `(m, n, n, n)`. `voxel_size`: Å of the
    decoded volumes. `first`: number of the first file. `is_path`: see `series_script`.

    **Raises:** `InputError` if the options do not fit the volumes.
    """
    options = options or VolumeOptions()
    names: list[str] = []
    small: list[np.ndarray] = []
    folder.mkdir(parents=True, exist_ok=True)
    for start in range(0, len(z), batch):
        for volume in np.asarray(decode(z[start : start + batch])):
            if not names:
                options.check(len(volume), voxel_size)
            treated, size, origin = process_volume(volume, voxel_size, options)
            name = f"{prefix}{first + len(names):03d}.mrc"
            write_map(folder / name, treated, size, origin)
            names.append(name)
            is_large = len(treated) > PICTURE_BOX
            small.append(fourier_crop(treated, PICTURE_BOX) if is_large else treated)
            if progress is not None:
                progress(len(names), len(z))
    level = surface_level(small)
    write_z_values(folder / "z_values.txt", z)
    write_series_script(folder / "series.cxc", names, level, title, is_path)
    return Series(folder, tuple(names), z, tuple(small), level)


def write_single(
    decode: Decode,
    z: Float[np.ndarray, "1 d"],
    path: Path,
    voxel_size: float,
    options: VolumeOptions | None = None,
) -> None:
    """Decode one volume into one map file.

    **Raises:** `InputError` if the options do not fit the volume.
    """
    options = options or VolumeOptions()
    volume = np.asarray(decode(z))[0]
    options.check(len(volume), voxel_size)
    treated, size, origin = process_volume(volume, voxel_size, options)
    write_map(path, treated, size, origin)


def write_z_values(path: Path, z: Float[np.ndarray, "m d"]) -> None:
    """Write latents as text, a row a point, readable by `numpy.loadtxt`."""
    with atomic_path(path) as temporary:
        np.savetxt(temporary, z)

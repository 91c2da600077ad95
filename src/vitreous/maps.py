"""Maps in MRC files: always `(z, y, x)`, always with voxel size and origin."""

import os
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from vitreous.errors import InputError
from vitreous.files import atomic_path
from vitreous.mrc import as_float32, build_header, read_sections


@dataclass(frozen=True, eq=False)
class Map:
    """Hold a density map.

    Fields: `data` float32 `(z, y, x)`; `voxel_size` in Å; `origin` `(x, y, z)` in Å of the first
    voxel.
    """

    data: Float32[np.ndarray, "z y x"]
    voxel_size: float
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)


def read_map(path: str | os.PathLike, pixel_size: float | None = None) -> Map:
    """Read a map (`.mrc`, `.map`, gzip-compressed or not), its axes put in order `(z, y, x)`.

    **Arguments:** `pixel_size`: Å per voxel, in place of the one in the header.

    **Raises:** `InputError` if the file is not a readable map, holds NaN, has voxels that are not
    cubes, or has no voxel size and none is given.
    """
    header, sections = read_sections(path)
    data = as_float32(sections, path)
    # Axis k of the array runs along maps, mapr, mapc; sort them to z, y, x.
    stored = header.axes[::-1]
    data = np.ascontiguousarray(data.transpose([stored.index(axis) for axis in (3, 2, 1)]))
    if not np.isfinite(data).all():
        raise InputError(f"{path}: holds NaN or infinite voxels; mend or mask it first")
    if pixel_size is None:
        x, y, z = header.voxel_size
        if min(x, y, z) <= 0:
            raise InputError(f"{path}: has no voxel size; give it in Å (--Apix)")
        if max(x, y, z) - min(x, y, z) > 1e-3 * x:
            raise InputError(f"{path}: voxels are not cubes ({x} × {y} × {z} Å); resample it")
        pixel_size = x
    return Map(data, float(pixel_size), header.origin)


def write_map(
    path: str | os.PathLike,
    data: np.ndarray,
    voxel_size: float,
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> None:
    """Write a map `(z, y, x)` as float32 MRC, in one step.

    **Raises:** `InputError` if the file cannot be written.
    """
    data = np.ascontiguousarray(data, "<f4")
    if data.ndim != 3 or not voxel_size > 0:
        raise ValueError(f"a map has three axes and a voxel size, not {data.shape}, {voxel_size}")
    mean, deviation = data.mean(dtype=np.float64), data.std(dtype=np.float64)
    statistics = (float(data.min()), float(data.max()), float(mean), float(deviation))
    header = build_header(data.shape, voxel_size, origin, True, statistics)
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        handle.write(header)
        handle.write(data.data)

"""Maps that may be compared voxel by voxel: cubes of one box and one voxel size."""

from pathlib import Path

from vitreous.errors import InputError
from vitreous.maps import Map, read_map


def read_alike(
    paths: list[Path], pixel_size: float | None = None, like: tuple[Path, Map] | None = None
) -> list[Map]:
    """Read maps that must have one box and voxel size.

    **Arguments:** `pixel_size`: Å per voxel, in place of the headers'. `like`: a map that they
    must resemble, and its path; by default the first of them.

    **Raises:** `InputError` if they differ.
    """
    maps = [read_map(path, pixel_size) for path in paths]
    model_path, model = like or (paths[0], maps[0])
    for path, each in zip(paths, maps, strict=True):
        if each.data.shape != model.data.shape or len(set(each.data.shape)) != 1:
            mine, other = ("×".join(map(str, m.data.shape)) for m in (each, model))
            raise InputError(
                f"{path} is {mine}, {model_path} is {other}; "
                "maps must be cubes of one box (vitreous downsample --is-vol)"
            )
        if abs(each.voxel_size - model.voxel_size) > 0.01 * model.voxel_size:
            raise InputError(
                f"{path} has {each.voxel_size:g} Å/voxel, {model_path} {model.voxel_size:g}; "
                "give the true one with --Apix"
            )
    return maps

"""Bring structure files and maps to one box and pixel size, as states of a specimen."""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float

from vitreous.errors import InputError
from vitreous.imaging.atoms import Atoms, read_atoms, read_models, scattering_gaussians
from vitreous.imaging.gaussians import gaussian_map
from vitreous.imaging.volumes.fitting import fit_map, sampling_of, warn_of_loss
from vitreous.maps import read_map

STRUCTURE_SUFFIXES = (".pdb", ".ent", ".cif", ".mmcif")
MAP_SUFFIXES = (".mrc", ".map", ".ccp4")


def is_structure(path: Path) -> bool:
    """Say whether a file is a structure, by its name, and not a map."""
    return _kind(path) == "structure"


def box_for_structure(
    path: Path, pixel_size: float, selection: str | None = None, assembly: str | None = None
) -> int:
    """Choose a box, even and with some room around, that a structure fits turned any way."""
    radius = read_atoms(path, selection, assembly=assembly).centered().radius
    return 2 * int(np.ceil(1.1 * radius / pixel_size + 4))


def _kind(path: Path) -> str:
    name = path.name.lower().removesuffix(".gz")
    if name.endswith(STRUCTURE_SUFFIXES):
        return "structure"
    if name.endswith(MAP_SUFFIXES):
        return "map"
    raise InputError(
        f"{path}: neither a structure ({', '.join(STRUCTURE_SUFFIXES)}) "
        f"nor a map ({', '.join(MAP_SUFFIXES)})"
    )


def state_maps(
    paths: Sequence[Path],
    box: int | None,
    pixel_size: float | None,
    selection: str | None = None,
    extra_bfactor: float = 0.0,
    all_models: bool = False,
    assembly: str | None = None,
) -> tuple[Float[np.ndarray, "s n n n"], float]:
    """Read structures, or maps, and lay each on one grid.

    **Arguments:** `paths`: all structures or all maps, one a state, in one frame. `box` and
    `pixel_size` (Å): needed for structures; maps without them keep their sampling, with one of
    them keep their extent. `selection`, `extra_bfactor` (Å²): for structures. `all_models`: each
    model of a structure file is a state, not only the first. `assembly`: name of the biological
    assembly to build.

    **Returns:** the maps `(s, n, n, n)` and their voxel size. Structures are centred by the
    first one's centre of mass.

    **Raises:** `InputError` naming the file that does not fit.
    """
    if not paths:
        raise InputError("name a structure (.pdb, .cif) or a map (.mrc), or use --phantom hinge")
    kinds = {_kind(path) for path in paths}
    if len(kinds) > 1:
        raise InputError("mixing structures and maps: give one kind, their values differ in scale")
    if kinds == {"structure"}:
        if box is None or pixel_size is None:
            raise InputError("a structure needs the box and the pixel size: -D and --apix")
        named: list[tuple[str, Atoms]] = []
        for path in paths:
            if all_models:
                models = read_models(path, selection, assembly=assembly)
                named += [(f"{path}, model {k}", one) for k, one in enumerate(models, 1)]
            else:
                named.append((str(path), read_atoms(path, selection, assembly=assembly)))
        return _maps_of_atoms(named, box, pixel_size, extra_bfactor), pixel_size
    if selection is not None or all_models or assembly is not None:
        raise InputError("--selection, --models, --assembly are for structures; these are maps")
    maps = [read_map(path) for path in paths]
    for path, one in zip(paths, maps, strict=True):
        if len(set(one.data.shape)) > 1:
            raise InputError(f"{path}: is {one.data.shape}, not a cube; pad it to one")
    box, pixel_size = sampling_of(maps[0], box, pixel_size)
    fitted = [
        fit_map(one, box, pixel_size, str(path)) for path, one in zip(paths, maps, strict=True)
    ]
    return np.stack(fitted), pixel_size


def _maps_of_atoms(
    named: list[tuple[str, Atoms]], box: int, pixel_size: float, extra_bfactor: float
) -> Float[np.ndarray, "s n n n"]:
    # One origin for all, so that states stay in register.
    first = named[0][1]
    origin = first.position[0] - first.centered().position[0]
    draw = jax.jit(gaussian_map, static_argnames=("box", "voxel_size", "sampling", "chunk"))
    maps = []
    for name, one in named:
        gaussians = scattering_gaussians(one, extra_bfactor=extra_bfactor)
        gaussians = gaussians._replace(position=(one.position - origin).astype(np.float32))
        volume = np.asarray(draw(gaussians, box=box, voxel_size=pixel_size))
        total = float(gaussians.amplitude.sum()) / pixel_size**3
        warn_of_loss(name, volume, total, pixel_size)
        maps.append(volume)
    return np.stack(maps)

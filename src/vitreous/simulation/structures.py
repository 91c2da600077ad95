"""Bring structure files and maps to one box and pixel size, as states of a specimen."""

import logging
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from vitreous.errors import InputError
from vitreous.geometry.resample import resample
from vitreous.geometry.shift import crop_centered
from vitreous.imaging.atoms import Atoms, read_atoms, scattering_gaussians
from vitreous.imaging.fourier_grid import inscribed_sphere
from vitreous.imaging.gaussians import gaussian_map
from vitreous.particles import Map, read_map

logger = logging.getLogger(__name__)

STRUCTURE_SUFFIXES = (".pdb", ".ent", ".cif", ".mmcif")
MAP_SUFFIXES = (".mrc", ".map", ".ccp4")


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
) -> tuple[Float[np.ndarray, "s n n n"], float]:
    """Read structures, or maps, and lay each on one grid.

    **Arguments:** `paths`: all structures or all maps, one a state, in one frame. `box` and
    `pixel_size` (Å): needed for structures; maps without them keep their sampling, with one of
    them keep their extent. `selection`, `extra_bfactor` (Å²): for structures.

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
        atoms = [read_atoms(path, selection) for path in paths]
        return _maps_of_atoms(atoms, paths, box, pixel_size, extra_bfactor), pixel_size
    if selection is not None:
        raise InputError("--selection chooses atoms; the inputs are maps")
    maps = [read_map(path) for path in paths]
    for path, one in zip(paths, maps, strict=True):
        if len(set(one.data.shape)) > 1:
            raise InputError(f"{path}: is {one.data.shape}, not a cube; pad it to one")
    box, pixel_size = _sampling(maps[0], box, pixel_size)
    fitted = [
        fit_map(one, box, pixel_size, str(path)) for path, one in zip(paths, maps, strict=True)
    ]
    return np.stack(fitted), pixel_size


def _maps_of_atoms(
    atoms: list[Atoms], paths: Sequence[Path], box: int, pixel_size: float, extra_bfactor: float
) -> Float[np.ndarray, "s n n n"]:
    # One origin for all, so that states stay in register.
    origin = atoms[0].position[0] - atoms[0].centered().position[0]
    draw = jax.jit(gaussian_map, static_argnames=("box", "voxel_size", "sampling", "chunk"))
    maps = []
    for path, one in zip(paths, atoms, strict=True):
        gaussians = scattering_gaussians(one, extra_bfactor=extra_bfactor)
        gaussians = gaussians._replace(position=(one.position - origin).astype(np.float32))
        volume = np.asarray(draw(gaussians, box=box, voxel_size=pixel_size))
        total = float(gaussians.amplitude.sum()) / pixel_size**3
        _warn_of_loss(str(path), volume, total, pixel_size)
        maps.append(volume)
    return np.stack(maps)


def _warn_of_loss(
    name: str, fitted: Float[np.ndarray, "n n n"], total: float, pixel_size: float
) -> None:
    """Compare the density inside the box's sphere, which images can show, with all of it."""
    box = len(fitted)
    inside = np.sum(np.abs(fitted) * inscribed_sphere(box), dtype=np.float64)
    if inside < 0.99 * total:
        logger.warning(
            "%s: %.1f %% of the density lies outside the sphere of %g Å across that fits the "
            "box; take a larger box (-D) or larger pixels (--apix)",
            *(name, 100 * (1 - inside / total), box * pixel_size),
        )


def _sampling(one: Map, box: int | None, pixel_size: float | None) -> tuple[int, float]:
    extent = len(one.data) * one.voxel_size
    if box is None and pixel_size is None:
        return len(one.data), one.voxel_size
    if box is None:
        assert pixel_size is not None
        return round(extent / pixel_size), pixel_size
    return box, extent / box if pixel_size is None else pixel_size


def fit_map(
    one: Map, box: int, pixel_size: float, name: str = "map", tolerance: float = 2e-4
) -> Float[np.ndarray, "n n n"]:
    """Resample a cubic map to a voxel size in Fourier space, and crop or pad it to a box.

    The map is padded until its extent is a whole number of new voxels, to within `tolerance`.
    Warns of density cut off and of detail the map does not have.
    """
    n, voxel = len(one.data), one.voxel_size
    if pixel_size < 0.99 * voxel:
        logger.warning(
            "%s: its voxels of %.4g Å hold no detail for pixels of %g Å", name, voxel, pixel_size
        )
    data = one.data
    if abs(voxel / pixel_size - 1) > tolerance:
        sides = np.arange(n, n + 65)
        wanted = sides * voxel / pixel_size
        error = np.abs(np.rint(wanted) / wanted - 1)
        best = int(np.argmax(error <= max(tolerance, error.min())))
        data = crop_centered(data, int(sides[best]), 3)
        data = np.asarray(resample(jnp.asarray(data), int(np.rint(wanted[best])), 3))
    fitted = crop_centered(data, box, 3)
    _warn_of_loss(name, fitted, float(np.abs(data).sum(dtype=np.float64)), pixel_size)
    return fitted

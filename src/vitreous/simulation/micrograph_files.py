"""Micrographs in files: one image an `.mrc`, a RELION table of them with their CTFs."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from vitreous.errors import InputError
from vitreous.files import atomic_path
from vitreous.imaging.ctf import CTFParameters
from vitreous.mrc import as_float32, build_header, read_sections
from vitreous.particles.paths import resolve_stacks
from vitreous.particles.relion import CTF, RelionParticles
from vitreous.particles.star import StarFile, read_star
from vitreous.particles.star_block import StarBlock, make_block

_OPTICS_FIELDS = ("voltage", "spherical_aberration", "amplitude_contrast")
_PIXEL_SIZES = ("rlnMicrographPixelSize", "rlnMicrographOriginalPixelSize", "rlnImagePixelSize")


@dataclass(frozen=True, eq=False)
class Micrograph:
    """Name a micrograph and say what is known of it.

    Fields: `path`; `pixel_size` in Å, None where only the header knows; `ctf`: each field a single
    number, or None; `name`: as the table has it.
    """

    path: Path
    pixel_size: float | None = None
    ctf: CTFParameters | None = None
    name: str | None = None

    def read(self) -> tuple[Float32[np.ndarray, "h w"], float]:
        """Read the image and settle its pixel size.

        **Raises:** `InputError` if it is no single image, holds NaN, or nothing says how large
        its pixels are.
        """
        header, sections = read_sections(self.path)
        if sections.shape[0] != 1:
            raise InputError(
                f"{self.path}: holds {sections.shape[0]} sections; a micrograph is one image "
                "(movies must be motion-corrected and summed first)"
            )
        image = as_float32(sections, self.path)[0]
        if not np.isfinite(image).all():
            raise InputError(f"{self.path}: holds NaN or infinite pixels; mend it first")
        if image.std() == 0:
            raise InputError(f"{self.path}: every pixel has the same value; there is no image")
        size = self.pixel_size or header.voxel_size[0]
        if not size > 0:
            raise InputError(f"{self.path}: has no pixel size; give it in Å (--apix)")
        return image, float(size)


def read_micrographs(
    paths: Sequence[Path],
    ctf: CTFParameters | None = None,
    pixel_size: float | None = None,
    has_ctf: bool = True,
) -> list[Micrograph]:
    """List micrographs: `.mrc` files, or RELION tables of them (`.star`).

    **Arguments:** `ctf`: single numbers, for all of them, in place of what tables say.
    `pixel_size`: Å, likewise. `has_ctf`: False for micrographs without a CTF, whatever tables say.

    **Raises:** `InputError` for files that are missing or neither, tables without optics, and
    micrographs whose CTF nothing tells.
    """
    found: list[Micrograph] = []
    for path in paths:
        if not path.is_file():
            raise InputError(f"{path}: no such file; name micrographs (.mrc) or a table (.star)")
        if path.suffix.lower() == ".star":
            found += _read_table(path)
        else:
            found.append(Micrograph(path))
    if ctf is not None or not has_ctf:
        found = [replace(one, ctf=ctf if has_ctf else None) for one in found]
    if pixel_size is not None:
        found = [replace(one, pixel_size=pixel_size) for one in found]
    for one in found:
        if has_ctf and one.ctf is None:
            raise InputError(
                f"{one.path}: nothing tells its defocus; give --defocus U V ANGLE, a table of "
                "micrographs with _rlnDefocusU, or --no-ctf"
            )
        if not one.path.is_file():
            raise InputError(f"{one.path}: no such micrograph; run from the folder of the project")
    return found


def _read_table(path: Path) -> list[Micrograph]:
    star = read_star(path)
    if star.optics is None:
        raise InputError(
            f"{path}: has no data_optics; write it with RELION 3.1 or later, or name the .mrc "
            "files and give --defocus, --kv, --cs and --apix"
        )
    table = star.main
    if "rlnMicrographName" not in table.columns:
        raise InputError(f"{path}: data_{table.name} has no _rlnMicrographName column")
    rows = RelionParticles(star)
    names = table.text("rlnMicrographName")
    paths = resolve_stacks(names, path, None)
    ctf = rows.ctf()
    sizes = None
    for column in _PIXEL_SIZES:
        if sizes is None and column in star.optics.columns:
            sizes = star.optics.numbers(column)[rows.optics_group]
    return [
        Micrograph(
            Path(place),
            None if sizes is None else float(sizes[row]),
            None if ctf is None else CTFParameters(*(np.asarray(field)[row] for field in ctf)),
            name,
        )
        for row, (name, place) in enumerate(zip(names, paths, strict=True))
    ]


def write_micrograph(
    path: str | os.PathLike, image: Float32[np.ndarray, "h w"], pixel_size: float
) -> None:
    """Write one image of any size as float32 `.mrc`, in one step."""
    image = np.ascontiguousarray(image, "<f4")
    mean, deviation = image.mean(dtype=np.float64), image.std(dtype=np.float64)
    statistics = (float(image.min()), float(image.max()), float(mean), float(deviation))
    header = build_header((1, *image.shape), pixel_size, statistics=statistics)
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        handle.write(header)
        handle.write(image.data)


def optics_block(ctf: CTFParameters | None, pixel_size: float) -> StarBlock:
    """Make the optics table of one session: one group."""
    columns = {
        "rlnOpticsGroupName": ["opticsGroup1"],
        "rlnOpticsGroup": ["1"],
        "rlnMicrographPixelSize": [str(pixel_size)],
        "rlnMicrographOriginalPixelSize": [str(pixel_size)],
    }
    if ctf is not None:
        for field in _OPTICS_FIELDS:
            columns[CTF[field][0]] = [str(np.asarray(getattr(ctf, field)).flat[0])]
    return make_block("optics", columns)


def ctf_cells(ctf: CTFParameters | None) -> dict[str, list[str]]:
    """Word the CTF of each row, without what stands in the optics table."""
    if ctf is None:
        return {}
    return {
        CTF[field][0]: np.asarray(getattr(ctf, field)).astype(str).tolist()
        for field in CTFParameters._fields
        if field not in _OPTICS_FIELDS
    }


def write_table(
    path: str | os.PathLike, optics: StarBlock | None, name: str, columns: dict[str, list[str]]
) -> None:
    """Write a table, after the optics table if there is one, to a `.star` file."""
    blocks = (make_block(name, columns),)
    StarFile(blocks if optics is None else (optics, *blocks), Path(path)).write(path)

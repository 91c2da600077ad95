"""Write any particle table in any layout: RELION 3.1 or 3.0, cryoSPARC, comma-separated text."""

import os
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from vitreous.errors import InputError
from vitreous.files import atomic_path
from vitreous.geometry.rotations import matrix_to_euler
from vitreous.particles.cryosparc import CsData
from vitreous.particles.cryosparc_making import make_cs
from vitreous.particles.filtering import save_cs
from vitreous.particles.relion import CTF, EULER, ORIGIN, RelionParticles
from vitreous.particles.star import StarFile
from vitreous.particles.star_block import StarBlock
from vitreous.particles.star_writing import star_of
from vitreous.particles.table import ParticleTable

Layout = Literal["parent", "3.1", "3.0"]


def write_table(
    table: ParticleTable,
    path: str | os.PathLike,
    layout: Layout = "parent",
    full_paths: bool = False,
) -> None:
    """Write a table as `.star`, `.cs` or `.csv`, whatever it came from.

    A file of the kind it came from keeps every column. Between programs the columns both know
    go over: images, sampling, poses, CTF, half sets, particles, doses.

    **Arguments:** `layout`: of a `.star`; `"parent"` is that of the file it came from, 3.1 where
    that was no `.star`. `full_paths`: name stacks by their absolute paths.

    **Raises:** `InputError` if the output is none of these.
    """
    kind = Path(path).suffix.lower()
    if full_paths:
        table = table.replace(stacks=tuple(map(os.path.abspath, table.stacks)))
    if kind == ".cs":
        if isinstance(table.source, CsData):
            table.to_cs(path)
        else:
            save_cs(make_cs(table), path)
    elif kind == ".csv":
        with atomic_path(path) as temporary:
            _frame(table).to_csv(temporary, index=False)
    elif kind != ".star":
        raise InputError(f"{path}: particle tables are written as .star, .cs or .csv")
    elif layout == "3.0":
        relion30(table, path, full_paths).write(path)
    elif full_paths:
        _with_full_paths(star_of(table, path), table).write(path)
    else:
        table.to_star(path, per_image=layout == "3.1")


def relion30(table: ParticleTable, path: str | os.PathLike, full_paths: bool = False) -> StarFile:
    """Return a table as RELION 3.0 wrote it: no optics table, origins in pixels.

    What the optics table says goes into the rows; the pixel size becomes a detector pixel at
    a magnification of 10,000.
    """
    star = star_of(table, path)
    if full_paths:
        star = _with_full_paths(star, table)
    main = star.main
    cells: dict[str, list[str]] = {}
    if star.optics is not None:
        particles = RelionParticles(star)
        for name in star.optics.columns:
            if name in (*_SAMPLING, "rlnOpticsGroup", "rlnOpticsGroupName"):
                continue
            values = star.optics.text(name)
            cells[name] = [values[k] for k in particles.optics_group.tolist()]
        main = _without(main, ("rlnOpticsGroup", *ORIGIN))
    origin = -table.shift.astype(np.float64) / table.pixel_size[:, None] + 0.0
    if table.rotation is not None:
        cells |= {f"rlnOrigin{a}": [f"{x:.6f}" for x in origin[:, k]] for k, a in enumerate("XY")}
    cells["rlnMagnification"] = ["10000"] * len(table)
    cells["rlnDetectorPixelSize"] = np.asarray(table.pixel_size).astype(str).tolist()
    main = main.replace_columns(cells)
    return StarFile((StarBlock("", main.columns, main.body),), Path(path))


_SAMPLING = ("rlnImagePixelSize", "rlnImageSize", "rlnImageDimensionality")


def _without(block: StarBlock, names: tuple[str, ...]) -> StarBlock:
    kept = [c for c in block.columns if c not in names]
    if len(kept) == len(block.columns):
        return block
    from vitreous.particles.star_block import make_block

    return make_block(block.name, block.read(text=kept))


def _with_full_paths(star: StarFile, table: ParticleTable) -> StarFile:
    pairs = zip(table.image_index.tolist(), table.stack_id.tolist(), strict=True)
    stacks = [os.path.abspath(stack) for stack in table.stacks]
    names = [f"{image + 1:06d}@{stacks[k]}" for image, k in pairs]
    return star.replace_blocks(star.main.replace_columns({"rlnImageName": names}))


def _frame(table: ParticleTable) -> pd.DataFrame:
    """List what is known of each image under RELION's names, units as there."""
    columns: dict[str, object] = {
        "row": table.row,
        "stack": [table.stacks[k] for k in table.stack_id.tolist()],
        "image": table.image_index + 1,
        "rlnImageSize": table.box,
        "rlnImagePixelSize": table.pixel_size,
        "rlnOpticsGroup": table.optics_group + 1,
    }
    if table.rotation is not None:
        angles = matrix_to_euler(table.rotation.astype(np.float64))
        columns |= {name: angles[:, k] for k, name in enumerate(EULER)}
        columns |= {name: -table.shift[:, k] + 0.0 for k, name in enumerate(ORIGIN)}
    if table.ctf is not None:
        columns |= {name: np.asarray(getattr(table.ctf, f)) for f, (name, _) in CTF.items()}
    if table.half_set is not None:
        columns["rlnRandomSubset"] = table.half_set + 1
    if table.particle is not None:
        columns["particle"] = table.particle
    if table.dose is not None:
        columns["rlnMicrographPreExposure"] = table.dose
    return pd.DataFrame(columns)

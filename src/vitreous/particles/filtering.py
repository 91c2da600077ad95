"""Take rows of particle files as they stand: no image is looked for, no column is understood.

What is kept is kept to the byte; only names of stacks that would lead nowhere from the new place
are mended. See `ParticleTable.select` for tables whose columns are to be changed too.
"""

import os
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Int64

from vitreous.errors import InputError
from vitreous.files import atomic_path
from vitreous.particles.cryosparc import load_cs
from vitreous.particles.paths import resolve_stacks
from vitreous.particles.peer_pickles import read_index
from vitreous.particles.relion import RelionParticles
from vitreous.particles.relion_tomo import is_tomo_table
from vitreous.particles.star import StarFile, read_star
from vitreous.particles.star_block import StarBlock
from vitreous.particles.star_writing import findable_names

PathLike = str | os.PathLike


def rows_of_index(ind: PathLike, count: int, name: PathLike) -> Int64[np.ndarray, " k"]:
    """Read row numbers (counted from 0) that must exist in a file of `count` rows.

    **Raises:** `InputError` if the file names none, or one beyond the last.
    """
    rows = read_index(ind)
    if rows.size == 0:
        raise InputError(f"{ind}: selects no rows")
    if rows.max() >= count:
        raise InputError(f"{ind}: asks for row {rows.max()} (counted from 0); {name} has {count}")
    return rows


def filter_star(path: PathLike, rows: Int64[np.ndarray, " k"], output: PathLike) -> None:
    """Write a `.star` file with these rows of its particle table, every other block as it is.

    **Raises:** `InputError` if it has not as many.
    """
    star = read_star(path)
    main = star.main.take(_existing(rows, len(star.main), path))
    star.replace_blocks(main.replace_columns(_mended_names(star, main, Path(output)))).write(output)


def images_of_particles(path: PathLike, particles: Int64[np.ndarray, " k"]) -> np.ndarray:
    """List the rows of a table of tilt images that show these particles, in their order.

    **Arguments:** `particles`: counted from 0 in the order the file first names them
    (`rlnGroupName`, else `rlnGroupNumber`).

    **Raises:** `InputError` if the table names no groups.
    """
    star = read_star(path)
    if is_tomo_table(star):
        return particles
    name = next((c for c in ("rlnGroupName", "rlnGroupNumber") if c in star.main.columns), None)
    if name is None:
        raise InputError(f"{path}: has no _rlnGroupName that says which particle an image shows")
    owner = pd.factorize(np.array(star.main.text(name), object))[0]
    if particles.max(initial=0) > owner.max(initial=0):
        raise InputError(
            f"particle {particles.max()} (counted from 0): {path} has {owner.max(initial=0) + 1}"
        )
    order = np.argsort(owner, kind="stable")
    start, stop = (np.searchsorted(owner[order], particles, side=s) for s in ("left", "right"))
    return np.concatenate([order[a:b] for a, b in zip(start, stop, strict=True)])


def split_by_micrograph(
    path: PathLike, rows: Int64[np.ndarray, " k"], folder: PathLike
) -> list[Path]:
    """Write one `.star` file a micrograph, named after it, with those of these rows it holds.

    **Raises:** `InputError` if the table names no micrographs, or two of the same file name.
    """
    star = read_star(path)
    if "rlnMicrographName" not in star.main.columns:
        raise InputError(f"{path}: has no _rlnMicrographName to split by")
    names = np.array(star.main.text("rlnMicrographName"), object)[rows]
    code, distinct = pd.factorize(names)
    files = [Path(folder) / f"{Path(str(name)).stem}.star" for name in distinct]
    if len(set(files)) < len(files):
        twice = max(files, key=files.count)
        raise InputError(f"{path}: several micrographs are named {twice.stem}, in other folders")
    for k, file in enumerate(files):
        filter_star(path, rows[code == k], file)
    return files


def filter_cs(path: PathLike, rows: Int64[np.ndarray, " k"], output: PathLike) -> None:
    """Write a `.cs` file with these rows, every field and `uid` as they are.

    **Raises:** `InputError` if it has not as many.
    """
    table = load_cs(path)
    save_cs(table[_existing(rows, len(table), path)], output)


def rows_with_uids(path: PathLike, uids: PathLike) -> Int64[np.ndarray, " k"]:
    """List the rows of one `.cs` file whose particles are in another, in the other's order.

    So a passthrough file follows a selection of the particles it belongs to.

    **Raises:** `InputError` if a file has no uids, or a particle is missing.
    """
    table, wanted = load_cs(path), load_cs(uids)
    for name, data in (path, table), (uids, wanted):
        if "uid" not in (data.dtype.names or ()):
            raise InputError(f"{name}: has no field uid")
    lost = ~np.isin(wanted["uid"], table["uid"])
    if lost.any():
        raise InputError(f"{path}: lacks {int(lost.sum())} of the particles (uid) of {uids}")
    order = np.argsort(table["uid"], kind="stable")
    return order[np.searchsorted(table["uid"], wanted["uid"], sorter=order)].astype(np.int64)


def save_cs(rows: np.ndarray, output: PathLike) -> None:
    """Write a structured array as a `.cs` file, in one step."""
    with atomic_path(output) as temporary, temporary.open("wb") as handle:
        np.save(handle, rows, allow_pickle=False)


def _existing(rows: Int64[np.ndarray, " k"], count: int, name: PathLike) -> np.ndarray:
    if rows.max(initial=-1) >= count:
        raise InputError(f"{name}: has {count} rows; row {rows.max()} (from 0) is asked for")
    return rows


def _mended_names(star: StarFile, main: StarBlock, output: Path) -> dict[str, list[str]]:
    """Rename the stacks that a reader of the file in its new place would not find."""
    if "rlnImageName" not in main.columns or is_tomo_table(star) or not len(main):
        return {}
    part = RelionParticles(star.replace_blocks(main))
    names, stack_id, _ = part.images()
    stacks = resolve_stacks(names, star.path, None)
    return findable_names(main, [stacks[k] for k in stack_id.tolist()], output)

"""Put files of one kind end to end: particle tables, pose, CTF and index pickles, arrays."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vitreous.errors import InputError
from vitreous.particles.pickles import load_pickles, save_pickles
from vitreous.particles.read import read_particles

PathLike = str | os.PathLike


def concatenate_tables(
    paths: Sequence[PathLike], output: PathLike, datadir: PathLike | None
) -> int:
    """Write the particles of several tables as one; see `ParticleTable.join`.

    **Returns:** the number of images.

    **Raises:** `InputError` if only some of them have poses, or a CTF.
    """
    from vitreous.particles.conversion import write_table

    table = read_particles(paths[0], datadir=datadir)
    for path in paths[1:]:
        table = table.join(read_particles(path, datadir=datadir))
    write_table(table, output)
    return len(table)


def concatenate_pickles(paths: Sequence[PathLike], output: PathLike) -> int:
    """Write arrays, or tuples of arrays as poses are, end to end along their first axis.

    **Returns:** the number of rows.

    **Raises:** `InputError` if they differ in kind or in the shape of a row.
    """
    contents = [load_pickles(path) for path in paths]
    if len({len(c) for c in contents}) > 1:
        raise InputError(f"{paths[0]}, …: files of another number of pickles do not fit together")
    joined = [_joined(parts, paths) for parts in zip(*contents, strict=True)]
    save_pickles(output, *joined)
    first = joined[0]
    return len(first[0] if isinstance(first, tuple) else first)


def rows_of_pickle(path: PathLike, rows: np.ndarray, output: PathLike) -> int:
    """Write these rows of every array of a pickle: poses, CTF, latents, indices.

    **Raises:** `InputError` if a row is beyond the last, or something is no array.
    """

    def take(thing: Any) -> Any:
        if isinstance(thing, tuple | list):
            return tuple(take(part) for part in thing)
        if not isinstance(thing, np.ndarray) or thing.ndim == 0:
            raise InputError(f"{path}: holds {type(thing).__name__}, not arrays with a row each")
        if rows.max(initial=0) >= len(thing):
            raise InputError(f"{path}: has {len(thing)} rows; row {rows.max()} is asked for")
        return thing[rows]

    save_pickles(output, *(take(thing) for thing in load_pickles(path)))
    return len(rows)


def _joined(parts: Sequence[Any], paths: Sequence[PathLike]) -> Any:
    kinds = {type(part) for part in parts}
    if kinds <= {tuple, list} and len({len(p) for p in parts}) == 1:
        return tuple(_joined(side, paths) for side in zip(*parts, strict=True))
    if kinds != {np.ndarray} or len({p.shape[1:] for p in parts}) > 1 or parts[0].ndim == 0:
        raise InputError(
            f"{', '.join(str(Path(p).name) for p in paths)}: hold different things; arrays of one "
            "kind go together"
        )
    return np.concatenate(parts)

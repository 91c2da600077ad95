"""One table for particles from any program: pose, optics and image of each, one row a particle."""

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int8, Int32, Int64

from vitreous.imaging.ctf import CTFParameters
from vitreous.particles.cryosparc import CsData
from vitreous.particles.star import StarFile

Source = StarFile | CsData


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class ParticleTable:
    """Hold what is known of each particle image; conventions as in `docs/conventions`.

    Fields, one entry an image unless said otherwise:

    - `stacks`: the distinct stack files; `stack_id` which of them, `image_index` which image in it
      (0-based).
    - `box` (pixels) and `pixel_size` (Å) of the image as stored, by its optics group.
    - `rotation`: `x_image = R x_volume`, or None; `shift` (Å): where the particle centre lies,
      +x to larger columns, +y to larger rows; zeros if unknown.
    - `ctf`: NumPy fields, or None. `optics_group`: 0-based.
    - `half_set`: 0 or 1. `particle`: for tilt series, which particle is imaged. `dose`: e/Å²
      as the source counts it. `sign`: −1 where the stored image has its contrast inverted
      (`blob/sign` of cryoSPARC). `ctf_applied`: whether it is multiplied by its CTF already
      (`rlnCtfDataAreCtfPremultiplied`). `ImageSource` undoes both. Each None where the source
      does not say.
    - `row`: the row in the source; it survives any chain of selections.
    - `source`: the parsed parent, for writing back. `path`: the file it was read from.
    - `changed`: the columns that differ from the source.

    A column that says the same of every image holds one number, seen as many: it cannot be
    written to.
    """

    stacks: tuple[str, ...]
    stack_id: Int32[np.ndarray, " n"]
    image_index: Int64[np.ndarray, " n"]
    box: Int32[np.ndarray, " n"]
    pixel_size: Float64[np.ndarray, " n"]
    rotation: Float32[np.ndarray, "n 3 3"] | None
    shift: Float32[np.ndarray, "n 2"]
    ctf: CTFParameters | None
    optics_group: Int32[np.ndarray, " n"]
    half_set: Int8[np.ndarray, " n"] | None = None
    particle: Int64[np.ndarray, " n"] | None = None
    dose: Float32[np.ndarray, " n"] | None = None
    sign: Int8[np.ndarray, " n"] | None = None
    ctf_applied: Bool[np.ndarray, " n"] | None = None
    row: Int64[np.ndarray, " n"]
    source: Source | None = None
    path: Path | None = None
    changed: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for name in PER_PARTICLE:
            column = getattr(self, name)
            fields = column if isinstance(column, CTFParameters) else (column,)
            for field in fields:
                if field is not None and len(field) != len(self.row):
                    raise ValueError(f"{name} has {len(field)} rows, row has {len(self.row)}")
            slim = tuple(_slim(field) for field in fields)
            kept = CTFParameters(*slim) if isinstance(column, CTFParameters) else slim[0]
            object.__setattr__(self, name, kept)

    def __len__(self) -> int:
        return len(self.row)

    def __repr__(self) -> str:
        boxes = "/".join(map(str, np.unique(self.box)))
        sizes = "/".join(f"{size:g}" for size in np.unique(self.pixel_size))
        known = [
            name for name in ("rotation", "ctf", "half_set") if getattr(self, name) is not None
        ]
        return (
            f"ParticleTable({len(self):,} images of {boxes} pixels, {sizes} Å/pixel, "
            f"{len(self.stacks)} stacks, with {', '.join(known) or 'no poses or CTF'})"
        )

    def select(self, index: np.ndarray | Sequence[int] | slice) -> "ParticleTable":
        """Return the rows of an index array (any order, repeats allowed), a mask or a slice.

        `row` keeps the numbers of the source. **Raises:** `IndexError` for an index beyond the
        table, and for a mask of another length.
        """
        if not isinstance(index, slice):
            index = np.asarray(index)
            if index.size == 0:
                index = index.astype(np.int64)
        columns = {name: _take(getattr(self, name), index) for name in PER_PARTICLE}
        return dataclasses.replace(self, **columns)

    def replace(self, **columns: Any) -> "ParticleTable":
        """Return the table with columns replaced; writers know which differ from the source."""
        return dataclasses.replace(self, **columns, changed=self.changed | set(columns))

    def join(self, other: "ParticleTable") -> "ParticleTable":
        """Append the rows of another table.

        Optics groups of `other` follow those of this table, and so do its particles; `row` counts
        the joined rows. The parents are joined too, so that columns only one of them has are
        still written, filled up where the other lacks them; see `joining.join_sources` for when
        that cannot be. Where only one table knows particles, every image of the other is a
        particle by itself, of dose 0; half sets that only one table knows become None.

        **Raises:** `InputError` if only one of the tables has poses, or a CTF.
        """
        from vitreous.particles.joining import joined_columns

        columns = joined_columns(self, other)
        return dataclasses.replace(self, **columns)

    def to_star(self, path: str | os.PathLike, *, per_image: bool = False) -> None:
        """Write a RELION `.star` file.

        A table that came from a `.star` file is written as its parent with these rows only: every
        block, every column and every digit is kept, except columns that were replaced and names
        of stacks that would lead nowhere from the new place. Any other table is written in the
        3.1 layout: optics groups, origins in Å.

        **Arguments:** `per_image`: write the 3.1 layout in any case. For particles of tomograms,
        whose parents have one row a particle, that is a table of tilt images with the pose, CTF
        and dose of each: what cryoDRGN, tomoDRGN and Warp's users call a 2-D particle file.
        Replaced columns of such particles can be written in no other way.
        """
        from vitreous.particles.star_writing import write_star

        write_star(self, path, per_image)

    def to_cs(self, path: str | os.PathLike) -> None:
        """Write a cryoSPARC `.cs` file: these rows of the parent, with `uid` and every field.

        **Raises:** `InputError` if the table did not come from a `.cs` file.
        """
        from vitreous.particles.cryosparc_writing import write_cs

        write_cs(self, path)


PER_PARTICLE = (
    "stack_id",
    "image_index",
    "box",
    "pixel_size",
    "rotation",
    "shift",
    "ctf",
    "optics_group",
    "half_set",
    "particle",
    "dose",
    "sign",
    "ctf_applied",
    "row",
)


def _slim(column: Any) -> Any:
    """Keep one number of a column that is the same in every row."""
    if not isinstance(column, np.ndarray) or column.ndim > 1 or column.strides == (0,):
        return column
    if len(column) < 2 or not (column == column[0]).all():
        return column
    return np.broadcast_to(column[:1].copy(), column.shape)


def _take(column: Any, index: Any) -> Any:
    if column is None:
        return None
    if isinstance(column, CTFParameters):
        return CTFParameters(*(np.asarray(field)[index] for field in column))
    return column[index]

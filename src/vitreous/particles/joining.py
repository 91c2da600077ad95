"""Join the parents of two tables, so that what only one of them says is still written back."""

import logging
from pathlib import Path
from typing import Any

import numpy as np

from vitreous.errors import InputError
from vitreous.imaging.ctf import CTFParameters
from vitreous.particles.cryosparc import CsData
from vitreous.particles.cryosparc_writing import rows_of
from vitreous.particles.relion import CTF, PREMULTIPLIED, RelionParticles
from vitreous.particles.relion_tomo import is_tomo_table
from vitreous.particles.star import StarFile
from vitreous.particles.star_block import StarBlock, make_block
from vitreous.particles.star_writing import star_of
from vitreous.particles.table import PER_PARTICLE, ParticleTable, Source

logger = logging.getLogger(__name__)

_GROUP, _GROUP_NAME = "rlnOpticsGroup", "rlnOpticsGroupName"
# What a missing value of a known column stands for; others become nan, text becomes None.
_DEFAULTS = {name: str(value) for name, value in CTF.values() if value is not None}
_DEFAULTS |= {"rlnRandomSubset": "0", PREMULTIPLIED: "0"}


def joined_columns(first: ParticleTable, second: ParticleTable) -> dict[str, Any]:
    """Return every field of the table that holds the rows of both.

    **Raises:** `InputError` if only one of them has poses, or a CTF.
    """
    names = {name: k for k, name in enumerate(dict.fromkeys(first.stacks + second.stacks))}
    renumber = np.array([names[name] for name in second.stacks], np.int32)
    mine = {name: getattr(first, name) for name in PER_PARTICLE}
    theirs = {name: getattr(second, name) for name in PER_PARTICLE}
    theirs["stack_id"] = renumber[second.stack_id]
    _fill_up(mine, theirs, first, second)
    for name in ("optics_group", "particle"):
        if mine[name] is not None and theirs[name] is not None and len(first):
            theirs[name] = theirs[name] + mine[name].max() + 1
    columns = {name: _appended(mine[name], theirs[name]) for name in PER_PARTICLE}
    columns["row"] = np.arange(len(first) + len(second))
    source = join_sources(first, second)
    changed = {"stacks"} if isinstance(source, StarFile) else set()
    if isinstance(source, StarFile) and source.optics is not None:
        columns["optics_group"] = RelionParticles(source).optics_group
        # Files may leave sampling to the headers of their stacks; beside others they cannot.
        changed |= {"pixel_size", "box"}
    return columns | {
        "stacks": tuple(names),
        "source": source,
        "changed": frozenset(changed),
    }


def _fill_up(
    mine: dict[str, Any], theirs: dict[str, Any], first: ParticleTable, second: ParticleTable
) -> None:
    """Give each side the columns only the other has, where there is a value for "not said"."""
    for name, words in ("rotation", "poses"), ("ctf", "a CTF"):
        if (mine[name] is None) != (theirs[name] is None):
            with_it, without = (second, first) if mine[name] is None else (first, second)
            raise InputError(
                f"{with_it.path} has {words}, {without.path} has none: give them to both, or take "
                f"them away with replace({name}=None) before joining"
            )
    for here, there in (mine, theirs), (theirs, mine):
        count = len(here["row"])
        if here["particle"] is None and there["particle"] is not None:
            here["particle"] = np.arange(count)
        if here["dose"] is None and there["dose"] is not None:
            here["dose"] = np.zeros(count, np.float32)
        if here["sign"] is None and there["sign"] is not None:
            here["sign"] = np.ones(count, np.int8)
        if here["ctf_applied"] is None and there["ctf_applied"] is not None:
            here["ctf_applied"] = np.zeros(count, bool)


def _appended(first: Any, second: Any) -> Any:
    if first is None or second is None:
        return None
    if isinstance(first, CTFParameters):
        return CTFParameters(*map(np.concatenate, zip(first, second, strict=True)))
    return np.concatenate([first, second])


def join_sources(first: ParticleTable, second: ParticleTable) -> Source | None:
    """Return a parent for the rows of both tables, replaced columns put in.

    Columns that only one parent has are filled up: known ones with what their absence means,
    other numbers with `nan`, text with `None`.

    **Returns:** None where no parent can hold both: tomogram particles (their rows are no
    images), tables of different programs, RELION 3.0 with later ones. That columns are lost then
    is logged.
    """
    one, two = first.source, second.source
    if isinstance(one, CsData) and isinstance(two, CsData):
        return _join_cs(one, two, first, second)
    if one is None and two is None:
        return None
    stars = [s for s in (one, two) if isinstance(s, StarFile) and not is_tomo_table(s)]
    if all(s is None or s in stars for s in (one, two)):
        made = [star_of(table, table.path or Path("joined.star")) for table in (first, second)]
        if _fit_together(*made):
            return _join_stars(*made)
    logger.warning(
        "%s and %s are laid out differently: of their columns only images, poses, CTF, half sets, "
        "particles and doses are kept",
        first.path,
        second.path,
    )
    return None


def _fit_together(one: StarFile, two: StarFile) -> bool:
    """Say whether every column stands in the same table of both files, if it is in both."""
    if one.optics is None or two.optics is None:
        return one.optics is two.optics

    def crossed(a: StarFile, b: StarFile) -> set[str]:
        return set(a.optics.columns if a.optics else ()) & set(b.main.columns) - {_GROUP}

    return not crossed(one, two) and not crossed(two, one)


def _join_stars(one: StarFile, two: StarFile) -> StarFile:
    main, other = one.main, two.main
    blocks = list(one.blocks)
    if one.optics is not None and two.optics is not None:
        optics, more = one.optics, two.optics
        above = max(_labels(optics), default=0)
        more = more.replace_columns(_renumbered(more, above))
        if _GROUP in other.columns:
            other = other.replace_columns(_renumbered(other, above))
        if _GROUP_NAME in optics.columns and _GROUP_NAME in more.columns:
            more = more.replace_columns({_GROUP_NAME: _new_names(optics, more)})
        blocks[blocks.index(optics)] = _append(optics, more)
    blocks[blocks.index(main)] = _append(main, other)
    return StarFile(tuple(blocks), one.path)


def _labels(block: StarBlock) -> list[int]:
    return [int(float(label)) for label in block.text(_GROUP)]


def _renumbered(block: StarBlock, above: int) -> dict[str, list[str]]:
    return {_GROUP: [str(label + above) for label in _labels(block)]}


def _new_names(optics: StarBlock, more: StarBlock) -> list[str]:
    taken, names = set(optics.text(_GROUP_NAME)), []
    for name in more.text(_GROUP_NAME):
        fresh, k = name, 1
        while fresh in taken:
            k += 1
            fresh = f"{name}_{k}"
        taken.add(fresh)
        names.append(fresh)
    return names


def _append(first: StarBlock, second: StarBlock) -> StarBlock:
    names = list(dict.fromkeys(first.columns + second.columns))
    cells = {}
    for name in names:
        parts = [b.text(name) if name in b.columns else None for b in (first, second)]
        blank = _blank(name, next(part for part in parts if part is not None))
        mine, theirs = (
            [blank] * len(b) if part is None else part
            for part, b in zip(parts, (first, second), strict=True)
        )
        cells[name] = mine + theirs
    joined = make_block(first.name, cells)
    return StarBlock(first.name, joined.columns, joined.body, True, first.comment, first.path)


def _blank(name: str, known: list[str]) -> str:
    if name in _DEFAULTS:
        return _DEFAULTS[name]
    try:
        float(known[0])
    except (ValueError, IndexError):
        return "None"
    return "nan"


def _join_cs(one: CsData, two: CsData, first: ParticleTable, second: ParticleTable) -> CsData:
    parts = rows_of(first, one), rows_of(second, two)
    kinds: dict[str, np.dtype] = {}
    for part in parts:
        for name in part.dtype.names or ():
            kind = part.dtype[name]
            kinds[name] = np.promote_types(kinds[name], kind) if name in kinds else kind
    joined = np.zeros(sum(map(len, parts)), list(kinds.items()))
    start = 0
    for part in parts:
        stop = start + len(part)
        for name, kind in kinds.items():
            if name in (part.dtype.names or ()):
                joined[name][start:stop] = part[name]
            elif kind.base.kind == "f":
                joined[name][start:stop] = np.nan
        start = stop
    return CsData(joined, one.path)

"""STAR files: blocks of text in their order."""

import mmap
import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from vitreous.errors import InputError
from vitreous.files import atomic_path
from vitreous.particles.star_block import TOKEN, StarBlock
from vitreous.particles.star_text import LARGE, Body, FileRows, only_rows

Raw = bytes | mmap.mmap
_SEARCHED = 16 << 20


@dataclass(frozen=True, eq=False)
class StarFile:
    """Hold the blocks of a STAR file in their order."""

    blocks: tuple[StarBlock, ...]
    path: Path

    def find(self, name: str) -> StarBlock | None:
        """Return the block of that name, or None."""
        return next((block for block in self.blocks if block.name == name), None)

    @property
    def optics(self) -> StarBlock | None:
        """The optics table of RELION 3.1 and later, or None."""
        return self.find("optics")

    @cached_property
    def main(self) -> StarBlock:
        """The table of particles: the longest loop with images, else the longest but optics."""
        loops = [b for b in self.blocks if b.is_loop and b.name != "optics"]
        if not loops:
            raise InputError(f"{self.path}: has no table of particles")
        return max(loops, key=lambda block: ("rlnImageName" in block.columns, len(block)))

    def replace_blocks(self, *changed: StarBlock) -> "StarFile":
        """Return the file with blocks of the same names put in place of its own."""
        by_name = {block.name: block for block in changed}
        return replace(self, blocks=tuple(by_name.get(b.name, b) for b in self.blocks))

    def write(self, path: str | os.PathLike) -> None:
        """Write the file in one step."""
        with atomic_path(path) as temporary, temporary.open("wb") as handle:
            for block in self.blocks:
                block.write(handle)


def read_star(path: str | os.PathLike) -> StarFile:
    """Read a STAR file of any kind.

    **Raises:** `InputError` if it cannot be read, has no blocks, or two of the same name.
    """
    try:
        with Path(path).open("rb") as file:
            if os.fstat(file.fileno()).st_size < LARGE:
                return _split(_unix_lines(file.read()), Path(path))
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as raw:
                if not _find_all(raw, b"\r"):
                    return _split(raw, Path(path))
            file.seek(0)
            return _split(_unix_lines(file.read()), Path(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def _unix_lines(raw: bytes) -> bytes:
    return raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in raw else raw


def _split(raw: Raw, path: Path) -> StarFile:
    starts = [0] if raw[:5] == b"data_" else []
    starts += [place + 1 for place in _find_all(raw, b"\ndata_")]
    if not starts:
        raise InputError(f"{path}: not a STAR file: no line starts with data_")
    comment, blocks = raw[: starts[0]], []
    for start, stop in zip(starts, [*starts[1:], len(raw)], strict=True):
        block, comment = _parse_block(raw, start, stop, comment, str(path))
        blocks.append(block)
    names = [block.name for block in blocks]
    if len(set(names)) < len(names):
        raise InputError(f"{path}: two blocks are named data_{max(names, key=names.count)}")
    return StarFile(tuple(blocks), path)


def _find_all(raw: Raw, word: bytes) -> list[int]:
    """List where a word stands, giving back the memory of what was searched."""
    places = []
    for start in range(0, len(raw), _SEARCHED):
        stop = start + _SEARCHED + len(word) - 1
        found = raw.find(word, start, stop)
        while found >= 0:
            places.append(found)
            found = raw.find(word, found + 1, stop)
        if isinstance(raw, mmap.mmap):
            raw.madvise(mmap.MADV_DONTNEED, start, min(_SEARCHED, len(raw) - start))
    return places


def _parse_block(
    raw: Raw, start: int, stop: int, comment: bytes, path: str
) -> tuple[StarBlock, bytes]:
    """Split `raw[start:stop]` into a block and the comment that belongs to the next one."""
    position = raw.find(b"\n", start, stop)
    position = stop if position < 0 else position + 1
    name = raw[start:position].split()[0][len(b"data_") :].decode(errors="surrogateescape")
    columns: list[str] = []
    values: list[bytes] = []
    is_loop = False
    while position < stop:
        end = raw.find(b"\n", position, stop)
        end = stop if end < 0 else end + 1
        line = raw[position:end].strip()
        if line.startswith(b"_"):
            label, _, value = line.partition(b" ") if b"\t" not in line else line.partition(b"\t")
            columns.append(label[1:].decode(errors="surrogateescape"))
            values += TOKEN.findall(value)[:1] or [b'""']
        elif line == b"loop_":
            is_loop = True
        elif line and not line.startswith(b"#"):
            break
        position = end
    if len(set(columns)) < len(columns):
        twice = max(columns, key=columns.count)
        raise InputError(f"{path}: data_{name} has two columns named _{twice}")
    body_end = _end_of_rows(raw, position, stop)
    if is_loop:
        body = _rows(raw, position, body_end, path)
    else:
        body = b" ".join(values) + b"\n" if columns else b""
    block = StarBlock(name, tuple(columns), body, is_loop, comment.strip(), path)
    return block, raw[max(position, body_end) : stop]


def _rows(raw: Raw, start: int, stop: int, path: str) -> Body:
    if isinstance(raw, mmap.mmap) and stop - start >= LARGE:
        rows = FileRows(path, start, stop)
        if rows.is_clean:
            return rows
    return only_rows(raw[start:stop])


def _end_of_rows(raw: Raw, start: int, stop: int) -> int:
    """Step back over the blank lines and comments that end a block."""
    while stop > start:
        line_start = max(start, raw.rfind(b"\n", start, stop - 1) + 1)
        line = raw[line_start:stop].strip()
        if line and not line.startswith(b"#"):
            return stop
        stop = line_start
    return start

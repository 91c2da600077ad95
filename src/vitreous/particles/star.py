"""STAR files as blocks of text: rows are parsed when asked for and kept exactly as they stand.

Only the columns that are needed become numbers; the text of every row stays, so a selection is
written back with every column, every digit and every block of its parent.
"""

import io
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vitreous.errors import InputError
from vitreous.files import atomic_path

_TOKEN = re.compile(rb'"[^"\n]*"|\'[^\'\n]*\'|\S+')
_BLANK_OR_COMMENT = re.compile(rb"\n[ \t\r]*(?=[\n#])")
_NOT_A_NUMBER = ["nan", "NaN", "NAN", "-nan", "<NA>", "NA", "N/A", "None", "none", "null"]


@dataclass(frozen=True, eq=False, repr=False)
class StarBlock:
    """Hold one block of a STAR file: a loop, or a list of key and value pairs (one row).

    Fields: `name` without `data_`; `columns` without the leading underscore; `body`, the rows as
    text, one a line; `comment`, the lines that stood before the block.
    """

    name: str
    columns: tuple[str, ...]
    body: bytes
    is_loop: bool = True
    comment: bytes = b""
    path: str = ""

    @cached_property
    def _count(self) -> int:
        return self.body.count(b"\n")

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"StarBlock(data_{self.name}: {len(self)} rows, {len(self.columns)} columns)"

    def lines(self) -> list[bytes]:
        """Return the text of each row."""
        return self.body.split(b"\n")[:-1]

    def text(self, column: str) -> list[str]:
        """Return one column as text, quotes removed."""
        return self.read(text=[column])[column]

    def numbers(self, column: str) -> np.ndarray:
        """Return one column as float64."""
        return self.read(numbers=[column])[column]

    def read(self, numbers: Iterable[str] = (), text: Iterable[str] = ()) -> dict:
        """Parse some columns in one pass.

        **Returns:** by name, float64 arrays for `numbers` and lists of `str` for `text`.

        **Raises:** `InputError` naming block, row and column of the first value that is no number
        and of the first row with too few or too many values.
        """
        numbers, text = list(dict.fromkeys(numbers)), list(dict.fromkeys(text))
        if not len(self):
            return {c: np.zeros(0) for c in numbers} | {c: [] for c in text}
        last, beyond = self.columns[-1], "beyond the last column"
        # The last column is read as text, and a header line promises one more: short and long
        # rows show.
        kinds = dict.fromkeys(numbers, "float64") | dict.fromkeys(text, "object")
        kinds |= {last: "object", beyond: "category"}
        try:
            frame = pd.read_csv(
                io.BufferedReader(_Chained(b"x " * len(self.columns) + b"x\n", self.body)),
                sep=r"\s+",
                header=0,
                names=[*self.columns, beyond],
                index_col=False,
                usecols=list(kinds),
                dtype=kinds,
                quotechar="'" if self._has_single_quotes else '"',
                keep_default_na=False,
                na_values={c: _NOT_A_NUMBER for c in numbers if c != last},
                encoding_errors="surrogateescape",
            )
        except (ValueError, pd.errors.ParserError):
            self._raise_first_fault(numbers)
            raise
        has_short, has_long = (frame[last] == "").any(), (frame[beyond] != "").any()
        if len(frame) != len(self) or has_short or has_long:
            self._raise_first_fault(numbers)
        values: dict = {}
        for column in numbers:
            values[column] = self._as_numbers(frame[column], column == last, numbers)
        for column in text:
            values[column] = frame[column].tolist()
        return values

    def replace_columns(self, values: Mapping[str, Sequence[str]]) -> "StarBlock":
        """Return the block with columns overwritten, or appended where they are new.

        **Arguments:** `values`: by column name, the text of each row.
        """
        if not values:
            return self
        names = list(self.columns) + [c for c in values if c not in self.columns]
        place = [names.index(c) for c in values]
        blanks = [b""] * (len(names) - len(self.columns))
        rows = []
        for line, cells in zip(self.lines(), zip(*values.values(), strict=True), strict=True):
            tokens = _TOKEN.findall(line) if b'"' in line or b"'" in line else line.split()
            tokens += blanks
            for k, cell in zip(place, cells, strict=True):
                tokens[k] = _encoded(quote(cell))
            rows.append(b" ".join(tokens))
        return replace(self, columns=tuple(names), body=_join(rows))

    def take(self, rows: np.ndarray) -> "StarBlock":
        """Return the block with these rows, in this order."""
        lines = self.lines()
        return replace(self, body=_join([lines[k] for k in rows.tolist()]))

    def encode(self) -> bytes:
        """Return the block as it stands in a file."""
        comment = b"\n" + self.comment + b"\n\n" if self.comment else b"\n"
        head = [comment, b"data_" + _encoded(self.name), b"\n\n"]
        if not self.is_loop:
            values = [_TOKEN.findall(line) for line in self.lines()]
            pairs = zip(self.columns, values[0] if values else [], strict=True)
            return b"".join(head + [b"_%s %s\n" % (_encoded(k), v) for k, v in pairs] + [b"\n"])
        labels = [_encoded(f"_{name} #{k}\n") for k, name in enumerate(self.columns, 1)]
        return b"".join([*head, b"loop_\n", *labels, self.body, b"\n"])

    @property
    def _has_single_quotes(self) -> bool:
        if b"'" not in self.body or b'"' in self.body:
            return False
        return any(start + b"'" in self.body for start in (b" ", b"\t", b"\n"))

    def _as_numbers(self, cells: pd.Series, is_text: bool, numbers: list[str]) -> np.ndarray:
        if not is_text:
            return cells.to_numpy()
        try:
            return np.array([np.nan if c in _NOT_A_NUMBER else float(c) for c in cells])
        except ValueError:
            self._raise_first_fault(numbers)
            raise

    def _raise_first_fault(self, numbers: list[str]) -> None:
        """Find the first bad row the slow way, to name it."""
        place = [(self.columns.index(c), c) for c in numbers]
        where = f"{self.path}: data_{self.name}"
        for row, line in enumerate(self.lines(), 1):
            tokens = _TOKEN.findall(line)
            if len(tokens) != len(self.columns):
                raise InputError(
                    f"{where}: row {row} has {len(tokens)} values for {len(self.columns)} columns"
                )
            for k, column in place:
                cell = tokens[k].decode(errors="replace").strip("\"'")
                try:
                    float("nan" if cell in _NOT_A_NUMBER else cell)
                except ValueError:
                    raise InputError(
                        f"{where}: row {row}: _{column} is {cell!r}, not a number"
                    ) from None


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
                handle.write(block.encode())


def read_star(path: str | os.PathLike) -> StarFile:
    """Read a STAR file of any kind.

    **Raises:** `InputError` if it cannot be read, has no blocks, or two of the same name.
    """
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    if b"\r" in raw:
        raw = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    starts = [0] if raw.startswith(b"data_") else []
    found = raw.find(b"\ndata_")
    while found >= 0:
        starts.append(found + 1)
        found = raw.find(b"\ndata_", found + 1)
    if not starts:
        raise InputError(f"{path}: not a STAR file: no line starts with data_")
    comment, blocks = raw[: starts[0]], []
    for start, stop in zip(starts, [*starts[1:], len(raw)], strict=True):
        block, comment = _parse_block(raw, start, stop, comment, str(path))
        blocks.append(block)
    names = [block.name for block in blocks]
    if len(set(names)) < len(names):
        raise InputError(f"{path}: two blocks are named data_{max(names, key=names.count)}")
    return StarFile(tuple(blocks), Path(path))


def make_block(name: str, columns: Mapping[str, Sequence[str]]) -> StarBlock:
    """Make a loop from columns of text."""
    rows = [_encoded(" ".join(map(quote, cells))) for cells in zip(*columns.values(), strict=True)]
    return StarBlock(name, tuple(columns), _join(rows), comment=b"# version 30001")


def quote(cell: str) -> str:
    """Quote a value that is empty or holds white space."""
    if cell and not re.search(r"\s", cell):
        return cell
    return f'"{cell}"'


def _encoded(text: str) -> bytes:
    """Undo the decoding: bytes that are no UTF-8 come out as they went in."""
    return text.encode("utf-8", "surrogateescape")


class _Chained(io.RawIOBase):
    """Read buffers one after the other without copying them together."""

    def __init__(self, *parts: bytes):
        self._parts = [memoryview(part) for part in parts if part]

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        if not self._parts:
            return 0
        count = min(len(target), len(self._parts[0]))
        target[:count] = self._parts[0][:count]
        self._parts[0] = self._parts[0][count:]
        if not self._parts[0]:
            del self._parts[0]
        return count


def _join(rows: list[bytes]) -> bytes:
    return b"\n".join([*rows, b""])


def _parse_block(
    raw: bytes, start: int, stop: int, comment: bytes, path: str
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
            values += _TOKEN.findall(value)[:1] or [b'""']
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
        body = _only_rows(raw[position:body_end])
    else:
        body = b" ".join(values) + b"\n" if columns else b""
    block = StarBlock(name, tuple(columns), body, is_loop, comment.strip(), path)
    return block, raw[max(position, body_end) : stop]


def _end_of_rows(raw: bytes, start: int, stop: int) -> int:
    """Step back over the blank lines and comments that end a block."""
    while stop > start:
        line_start = max(start, raw.rfind(b"\n", start, stop - 1) + 1)
        line = raw[line_start:stop].strip()
        if line and not line.startswith(b"#"):
            return stop
        stop = line_start
    return start


def _only_rows(body: bytes) -> bytes:
    if body and not body.endswith(b"\n"):
        body += b"\n"
    if _BLANK_OR_COMMENT.search(body):
        lines = (line for line in body.split(b"\n"))
        body = _join([x for x in lines if x.strip() and not x.lstrip().startswith(b"#")])
    return body

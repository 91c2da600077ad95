"""One block of a STAR file: rows are parsed when asked for and kept exactly as they stand.

Only the columns that are needed become numbers; the text of every row stays, so a selection is
written back with every column and every digit of its parent.
"""

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from vitreous.errors import InputError

TOKEN = re.compile(rb'"[^"\n]*"|\'[^\'\n]*\'|\S+')
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
            tokens = TOKEN.findall(line) if b'"' in line or b"'" in line else line.split()
            tokens += blanks
            for k, cell in zip(place, cells, strict=True):
                tokens[k] = _encoded(quote(cell))
            rows.append(b" ".join(tokens))
        return replace(self, columns=tuple(names), body=join_rows(rows))

    def take(self, rows: np.ndarray) -> "StarBlock":
        """Return the block with these rows, in this order."""
        lines = self.lines()
        return replace(self, body=join_rows([lines[k] for k in rows.tolist()]))

    def encode(self) -> bytes:
        """Return the block as it stands in a file."""
        comment = b"\n" + self.comment + b"\n\n" if self.comment else b"\n"
        head = [comment, b"data_" + _encoded(self.name), b"\n\n"]
        if not self.is_loop:
            values = [TOKEN.findall(line) for line in self.lines()]
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
            tokens = TOKEN.findall(line)
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


def make_block(name: str, columns: Mapping[str, Sequence[str]]) -> StarBlock:
    """Make a loop from columns of text."""
    rows = [_encoded(" ".join(map(quote, cells))) for cells in zip(*columns.values(), strict=True)]
    return StarBlock(name, tuple(columns), join_rows(rows), comment=b"# version 30001")


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


def join_rows(rows: list[bytes]) -> bytes:
    """Return rows as the body of a block: each ends in a newline."""
    return b"\n".join([*rows, b""])

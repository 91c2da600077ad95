"""One block of a STAR file: rows are parsed when asked for and kept exactly as they stand.

Only the columns that are needed become numbers; the text of every row stays, so a selection is
written back with every column and every digit of its parent.
"""

import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import BinaryIO

import numpy as np
import pandas as pd

from vitreous.errors import InputError
from vitreous.particles.star_text import (
    Body,
    TextStream,
    count_rows,
    first_row,
    join_rows,
    pieces_of,
    rows_of,
    take_rows,
)

TOKEN = re.compile(rb'"[^"\n]*"|\'[^\'\n]*\'|\S+')
_NOT_A_NUMBER = ["nan", "NaN", "NAN", "-nan", "<NA>", "NA", "N/A", "None", "none", "null"]
# Rows parsed at a time.
_ROWS = 1 << 15


@dataclass(frozen=True, eq=False, repr=False)
class StarBlock:
    """Hold one block of a STAR file: a loop, or a list of key and value pairs (one row).

    Fields: `name` without `data_`; `columns` without the leading underscore; `body`, the rows as
    text, one a line, in memory or in their file; `comment`, the lines that stood before the block.
    """

    name: str
    columns: tuple[str, ...]
    body: Body
    is_loop: bool = True
    comment: bytes = b""
    path: str = ""

    @cached_property
    def _count(self) -> int:
        return count_rows(self.body)

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"StarBlock(data_{self.name}: {len(self)} rows, {len(self.columns)} columns)"

    def lines(self) -> list[bytes]:
        """Return the text of each row."""
        return list(rows_of(self.body))

    def text_of_rows(self) -> bytes:
        """Return the text of all rows."""
        return b"".join(pieces_of(self.body))

    def head(self) -> "StarBlock":
        """Return the block with its first row only."""
        return replace(self, body=first_row(self.body))

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
        values: dict = {c: np.empty(len(self)) for c in numbers} | {c: [] for c in text}
        # Names of micrographs come back many times: one object each.
        known: dict[str, str] = {}
        start = 0
        for part in self.parts(numbers, text) if values else ():
            for column in numbers:
                values[column][start : start + len(part[column])] = part[column]
            for column in text:
                values[column] += [known.setdefault(cell, cell) for cell in part[column]]
            start += len(part[(numbers + text)[0]])
        return values

    def parts(self, numbers: Iterable[str] = (), text: Iterable[str] = ()) -> Iterator[dict]:
        """Parse some columns in one pass, some thousand rows at a time; as `read` otherwise."""
        numbers, text = list(dict.fromkeys(numbers)), list(dict.fromkeys(text))
        if not len(self):
            return
        last, beyond = self.columns[-1], "beyond the last column"
        # The last column is read as text, and a header line promises one more: short and long
        # rows show.
        kinds = dict.fromkeys(numbers, "float64") | dict.fromkeys(text, "object")
        kinds |= {last: "object", beyond: "category"}
        count = 0
        try:
            frames = pd.read_csv(
                io.BufferedReader(TextStream(b"x " * len(self.columns) + b"x\n", self.body)),
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
                chunksize=_ROWS,
            )
            for frame in frames:
                count += len(frame)
                has_short, has_long = (frame[last] == "").any(), (frame[beyond] != "").any()
                if count > len(self) or has_short or has_long:
                    self._raise_first_fault(numbers)
                part = {c: self._as_numbers(frame[c], c == last, numbers) for c in numbers}
                yield part | {c: frame[c].tolist() for c in text}
        except (ValueError, pd.errors.ParserError):
            self._raise_first_fault(numbers)
            raise
        if count < len(self):
            self._raise_first_fault(numbers)

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
        for line, cells in zip(rows_of(self.body), zip(*values.values(), strict=True), strict=True):
            tokens = TOKEN.findall(line) if b'"' in line or b"'" in line else line.split()
            tokens += blanks
            for k, cell in zip(place, cells, strict=True):
                tokens[k] = _encoded(quote(cell))
            rows.append(b" ".join(tokens))
        return replace(self, columns=tuple(names), body=join_rows(rows))

    def take(self, rows: np.ndarray) -> "StarBlock":
        """Return the block with these rows, in this order."""
        return replace(self, body=take_rows(self.body, rows))

    def write(self, file: BinaryIO) -> None:
        """Write the block as it stands in a file."""
        comment = b"\n" + self.comment + b"\n\n" if self.comment else b"\n"
        head = [comment, b"data_" + _encoded(self.name), b"\n\n"]
        if not self.is_loop:
            values = [TOKEN.findall(line) for line in self.lines()]
            pairs = zip(self.columns, values[0] if values else [], strict=True)
            file.writelines(head + [b"_%s %s\n" % (_encoded(k), v) for k, v in pairs] + [b"\n"])
            return
        labels = [_encoded(f"_{name} #{k}\n") for k, name in enumerate(self.columns, 1)]
        file.writelines([*head, b"loop_\n", *labels])
        file.writelines(pieces_of(self.body))
        file.write(b"\n")

    @cached_property
    def _has_single_quotes(self) -> bool:
        has_single = False
        for piece in pieces_of(self.body):
            if b'"' in piece:
                return False
            # A piece begins where a row does.
            has_single |= b"'" in piece and any(
                before + b"'" in b"\n" + piece for before in (b" ", b"\t", b"\n")
            )
        return has_single

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
        for row, line in enumerate(rows_of(self.body), 1):
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

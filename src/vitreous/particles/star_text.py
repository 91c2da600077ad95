"""The rows of a STAR block as text: in memory, or, if there are many, left in their file.

The text of a million particles takes more memory than all their numbers, and is asked for again
only to write a selection; then it passes by in pieces.
"""

import io
import os
import re
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from vitreous.errors import InputError

# Longer files are not held in memory.
LARGE = 64 << 20
_PIECE = 4 << 20
_BLANK_OR_COMMENT = re.compile(rb"\n[ \t\r]*(?=[\n#])")


class FileRows:
    """Rows that stay in their file, from byte `start` to `stop`, one a line.

    The file is kept open, so that it may be renamed or removed meanwhile.
    """

    def __init__(self, path: str | os.PathLike, start: int, stop: int) -> None:
        self._path, self._start, self._stop = Path(path), start, stop
        self._file = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)
        self._mark = self._fingerprint()
        self.is_clean, self.count = True, 0
        before = b"\n"
        for piece in self.pieces():
            # Blank lines and comments are no rows.
            self.is_clean &= b"\r" not in piece and not _BLANK_OR_COMMENT.search(before + piece)
            self.count += piece.count(b"\n")
            before = piece[-1:]
        self.is_clean &= before == b"\n"

    def pieces(self) -> Iterator[bytes]:
        """Yield the rows some thousands at a time.

        **Raises:** `InputError` if the file was written to since it was opened.
        """
        position = self._start
        while position < self._stop:
            piece = os.pread(self._file, min(_PIECE, self._stop - position), position)
            if self._fingerprint() != self._mark or not piece:
                raise InputError(f"{self._path}: was changed while it was being used; start again")
            whole = piece.rfind(b"\n") + 1
            if whole and position + len(piece) < self._stop:
                piece = piece[:whole]
            elif position + len(piece) < self._stop:
                # One row longer than a piece.
                piece = self._one_row(position)
            position += len(piece)
            yield piece

    def _one_row(self, position: int) -> bytes:
        size = _PIECE
        while position + size < self._stop:
            size *= 2
            row = os.pread(self._file, min(size, self._stop - position), position)
            if b"\n" in row:
                return row[: row.find(b"\n") + 1]
        return os.pread(self._file, self._stop - position, position)

    def _fingerprint(self) -> tuple[int, int]:
        status = os.fstat(self._file)
        return status.st_size, status.st_mtime_ns


Body = bytes | FileRows


def pieces_of(body: Body) -> Iterator[bytes]:
    """Yield rows some at a time: whole lines."""
    if isinstance(body, FileRows):
        yield from body.pieces()
    elif body:
        yield body


def count_rows(body: Body) -> int:
    """Return the number of rows."""
    return body.count if isinstance(body, FileRows) else body.count(b"\n")


def rows_of(body: Body) -> Iterator[bytes]:
    """Yield the text of each row, without its newline."""
    for piece in pieces_of(body):
        yield from piece.split(b"\n")[:-1]


def first_row(body: Body) -> bytes:
    """Return the text of the first row with its newline; nothing if there is none."""
    piece = next(pieces_of(body), b"")
    return piece[: piece.find(b"\n") + 1]


def take_rows(body: Body, rows: Int64[np.ndarray, " k"]) -> Body:
    """Return some rows in the order asked for; all of them in their order are the body itself."""
    count = count_rows(body)
    if rows.size and (rows.min() < 0 or rows.max() >= count):
        raise IndexError(f"row {rows.max()} of {count}")
    if len(rows) == count and np.array_equal(rows, np.arange(count)):
        return body
    if isinstance(body, FileRows) and np.all(rows[1:] >= rows[:-1]):
        return _take_in_order(body, rows)
    lines = list(rows_of(body))
    return join_rows([lines[k] for k in rows.tolist()])


def _take_in_order(body: Body, rows: Int64[np.ndarray, " k"]) -> bytes:
    # What it holds is handed out as it is: joining parts would need twice the memory.
    taken, first = io.BytesIO(), 0
    for piece in pieces_of(body):
        lines = piece.split(b"\n")[:-1]
        start, stop = np.searchsorted(rows, (first, first + len(lines)))
        taken.write(join_rows([lines[k - first] for k in rows[start:stop].tolist()]))
        first += len(lines)
    return taken.getvalue()


def join_rows(rows: list[bytes]) -> bytes:
    """Return rows as the body of a block: each ends in a newline."""
    return b"\n".join([*rows, b""]) if rows else b""


def only_rows(body: bytes) -> bytes:
    """Leave out blank lines and comments, and end the last row."""
    if body and not body.endswith(b"\n"):
        body += b"\n"
    if _BLANK_OR_COMMENT.search(body):
        lines = body.split(b"\n")
        body = join_rows([x for x in lines if x.strip() and not x.lstrip().startswith(b"#")])
    return body


class TextStream(io.RawIOBase):
    """Read a first line and the rows of a body as one file, without copying them together."""

    def __init__(self, head: bytes, body: Body):
        self._part, self._more = memoryview(head), pieces_of(body)

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        while not self._part:
            piece = next(self._more, None)
            if piece is None:
                return 0
            self._part = memoryview(piece)
        count = min(len(target), len(self._part))
        target[:count] = self._part[:count]
        self._part = self._part[count:]
        return count

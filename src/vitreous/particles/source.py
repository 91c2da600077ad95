"""Images by index, read when asked for, from any number of stacks."""

import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Float32

from vitreous.errors import InputError
from vitreous.mrc import MrcHeader, as_float32, read_header
from vitreous.particles.paths import missing_stack
from vitreous.particles.table import ParticleTable
from vitreous.particles.tilts import fading_dose
from vitreous.particles.unmultiplied import undo_ctf

logger = logging.getLogger(__name__)

_OPEN_FILES = 128


class ImageSource:
    """Give the images of a table, row by row, without holding any.

    Every stack is checked when the source is made: it exists, is whole, holds square real images
    of the box the table says, and has every image the table asks for. Reading is safe from
    several threads; a source can be sent to other processes.

    ```python
    source = ImageSource(read_particles("particles.star"))
    images = source.read(np.array([5, 2, 9]))
    ```
    """

    def __init__(self, table: ParticleTable):
        """Check the headers of every stack of `table`. **Raises:** `InputError`."""
        self.table = table
        if table.ctf_applied is not None and table.ctf is None:
            logger.warning(
                "%s: images are multiplied by their CTF, which is not known and cannot be undone; "
                "extract them again without (RELION: --no_ctf)",
                table.path,
            )
        groups = rows_by_stack(table)
        # Stacks often lie on slow shared disks: look at several at a time.
        with ThreadPoolExecutor(min(8, len(groups) or 1)) as pool:
            headers = pool.map(lambda group: _checked_header(table, *group), groups)
            self._headers = {
                stack: header for (stack, _), header in zip(groups, headers, strict=True)
            }
        self._reset()

    def __len__(self) -> int:
        return len(self.table)

    @property
    def box(self) -> int:
        """The side of every image in pixels. **Raises:** `InputError` if boxes are mixed."""
        return _one_box(self.table, self.table.box)

    def read(self, index: np.ndarray) -> Float32[np.ndarray, "b n n"]:
        """Read images by their rows in the table, in any order, repeats allowed.

        What the table knows to have been done to images is undone: inverted contrast (`sign`),
        and multiplication by the CTF (`ctf_applied`) and, in tilt series, by the decay with the
        dose, as far as it can be.

        **Returns:** float32, shape `(b, n, n)`. **Raises:** `InputError` if their boxes differ,
        or if a stack was changed since it was checked.
        """
        index = np.asarray(index)
        if not index.size:
            return np.zeros((0, self.box, self.box), np.float32)
        box = _one_box(self.table, self.table.box[index])
        stack, image = self.table.stack_id[index], self.table.image_index[index]
        images = np.empty((len(index), box, box), np.float32)
        # In the order of the files, with neighbours in one system call.
        order = np.lexsort((image, stack))
        is_break = (np.diff(stack[order]) != 0) | (np.diff(image[order]) != 1)
        for run in np.split(order, np.flatnonzero(is_break) + 1):
            images[run] = self._read_run(int(stack[run[0]]), int(image[run[0]]), len(run))
        if self.table.sign is not None:
            images *= self.table.sign[index][:, None, None]
        if self.table.ctf_applied is not None and self.table.ctf is not None:
            rows = np.flatnonzero(self.table.ctf_applied[index])
            own = self.table.select(index[rows])
            assert own.ctf is not None
            images[rows] = undo_ctf(images[rows], own.ctf, own.pixel_size, fading_dose(own))
        return images

    def _read_run(self, stack: int, first: int, count: int) -> np.ndarray:
        header = self._headers[stack]
        start, size = header.offset + first * header.image_bytes, count * header.image_bytes
        file = self._open(stack)
        raw = os.pread(file.descriptor, size, start)
        while len(raw) < size:
            # One call gives at most 2 GiB.
            more = os.pread(file.descriptor, size - len(raw), start + len(raw))
            if not more:
                raise InputError(f"{header.path}: ends before image {first + count}; copy it again")
            raw += more
        pixels = np.frombuffer(raw, header.dtype).reshape(count, *header.shape[1:])
        return as_float32(pixels, header.path)

    def _open(self, stack: int) -> "_OpenFile":
        with self._lock:
            file = self._files.pop(stack, None) or _OpenFile(self._headers[stack].path)
            self._files[stack] = file
            if len(self._files) > _OPEN_FILES:
                self._files.popitem(last=False)
            return file

    def _reset(self) -> None:
        self._files: OrderedDict[int, _OpenFile] = OrderedDict()
        self._lock = threading.Lock()

    def __getstate__(self) -> dict:
        return {"table": self.table, "_headers": self._headers}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._reset()


class _OpenFile:
    """Close a descriptor when the last thread that reads it lets go."""

    def __init__(self, path: str):
        try:
            self.descriptor = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from error

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        # At the end of the interpreter `os` may be gone before this object: hence the default.
        if hasattr(self, "descriptor"):
            close(self.descriptor)


def check_finite(images: np.ndarray, index: np.ndarray, table: ParticleTable) -> None:
    """Refuse images with NaN or infinite pixels.

    **Arguments:** `images` `(b, n, n)` as read for the rows `index` of `table`.

    **Raises:** `InputError` naming the first bad image and its stack.
    """
    # One pass without a mask array: a sum is finite only if every term is, overflow aside.
    if np.isfinite(np.sum(images, dtype=np.float64)):
        return
    bad = np.flatnonzero(~np.isfinite(images.reshape(len(images), -1)).all(axis=1))
    if bad.size:
        row = int(np.asarray(index)[bad[0]])
        stack = table.stacks[int(table.stack_id[row])]
        raise InputError(
            f"{stack}: image {int(table.image_index[row]) + 1} holds NaN or infinite pixels "
            f"(row {int(table.row[row]) + 1} of the table); leave it out with --ind"
        )


def _one_box(table: ParticleTable, boxes: np.ndarray) -> int:
    distinct = np.unique(boxes)
    if len(distinct) != 1:
        raise InputError(
            f"{table.path}: images have boxes of {', '.join(map(str, distinct)) or 'no'} pixels; "
            "bring them to one box first (vitreous downsample)"
        )
    return int(distinct[0])


def rows_by_stack(table: ParticleTable) -> list[tuple[int, np.ndarray]]:
    """Return each stack in use with the rows of its images, in ascending order."""
    if len(table) and (table.stack_id == table.stack_id[0]).all():
        return [(int(table.stack_id[0]), np.arange(len(table)))]
    order = np.argsort(table.stack_id, kind="stable")
    stacks, first = np.unique(table.stack_id[order], return_index=True)
    return list(zip(stacks.tolist(), np.split(order, first[1:]), strict=True))


def _checked_header(table: ParticleTable, stack: int, rows: np.ndarray) -> MrcHeader:
    path = table.stacks[stack]
    if not os.path.isfile(path):
        raise InputError(missing_stack(path, table.path))
    header = read_header(path)
    count, side, columns = header.shape
    if side != columns:
        raise InputError(f"{path}: images are {columns}×{side}; only square images are read")
    if header.dtype.kind == "c":
        raise InputError(f"{path}: holds Fourier transforms (MRC mode 4); give real-space images")
    # Where all images lie in one stack nothing is copied to look at them.
    mine = rows if len(rows) < len(table) else slice(None)
    beyond = rows[table.image_index[mine] >= count]
    if beyond.size:
        raise InputError(
            f"{path}: has {count} images, but row {int(table.row[beyond[0]]) + 1} of {table.path} "
            f"asks for image {int(table.image_index[beyond[0]]) + 1}"
        )
    other = rows[table.box[mine] != side]
    if other.size:
        raise InputError(
            f"{path}: images are {side}×{side}, but {table.path} says "
            f"{int(table.box[other[0]])}×{int(table.box[other[0]])} "
            f"(row {int(table.row[other[0]]) + 1}); the stack was rescaled without its table"
        )
    return header

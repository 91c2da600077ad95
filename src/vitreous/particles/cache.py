"""Images of a set in one contiguous file, in the order of the table: what streaming reads best.

`images.bin` holds float32 images one after the other, `images.json` which set they are of and a
checksum of every block. The file is read with `pread`, like stacks: a memory map counts every page
that was touched as resident memory, and a file cut short kills the process instead of raising.
"""

import hashlib
import json
import logging
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float32

from vitreous.errors import InputError
from vitreous.files import write_text
from vitreous.particles.prepare import ImageReader
from vitreous.particles.processes import check_same
from vitreous.particles.source import check_finite
from vitreous.particles.table import ParticleTable

logger = logging.getLogger(__name__)

_BLOCK_BYTES = 16 << 20
# Blocks read back when a cache is opened; a small one is checked whole.
_CHECKED = 64


class CachedImages:
    """Give the images of a cache by row; made by `cache_images`."""

    def __init__(self, folder: Path, count: int, box: int) -> None:
        self.folder, self._count, self.box = folder, count, box
        self._image_bytes = 4 * box * box
        try:
            self._file = os.open(folder / "images.bin", os.O_RDONLY)
        except OSError as error:
            raise InputError(f"{folder}: cannot be read: {error.strerror}") from error

    def __len__(self) -> int:
        return self._count

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        if hasattr(self, "_file"):
            close(self._file)

    def read(self, index: np.ndarray) -> Float32[np.ndarray, "b n n"]:
        """Read images by row, in any order, repeats allowed; safe from several threads.

        **Raises:** `InputError` if the file was cut short.
        """
        index = np.asarray(index)
        images = np.empty((len(index), self.box, self.box), np.float32)
        order = np.argsort(index, kind="stable")
        # Neighbours in one system call.
        for run in np.split(order, np.flatnonzero(np.diff(index[order]) != 1) + 1):
            if len(run):
                images[run] = self._read_run(int(index[run[0]]), len(run))
        return images

    def _read_run(self, first: int, count: int) -> np.ndarray:
        raw = _read_at(self._file, first * self._image_bytes, count * self._image_bytes)
        if len(raw) < count * self._image_bytes:
            raise InputError(f"{self.folder}: ends before image {first + count}; remove the folder")
        return np.frombuffer(raw, "<f4").reshape(count, self.box, self.box)


def _read_at(file: int, place: int, size: int) -> bytes:
    """Read `size` bytes, which may take several calls; fewer at the end of the file."""
    parts = []
    while size > 0:
        part = os.pread(file, size, place)
        if not part:
            break
        parts.append(part)
        place, size = place + len(part), size - len(part)
    return b"".join(parts)


def cache_images(
    source: ImageReader,
    table: ParticleTable,
    folder: Path,
    progress: Callable[[int], None] | None = None,
) -> CachedImages:
    """Copy the images of a set into one file, or find it made; goes on where it was stopped.

    **Arguments:** `source`: gives the images in the rows of `table`. `progress`: called with how
    many images were copied since the last call.

    **Raises:** `InputError` if the folder holds a cache of another set, a damaged one, or the disk
    is full.
    """
    box, name = source.box, set_name(table)
    index = folder / "images.json"
    block = max(1, _BLOCK_BYTES // (4 * box * box))
    if index.is_file():
        about = json.loads(index.read_text(encoding="utf-8"))
        if about["set"] != name or about["box"] != box:
            raise InputError(
                f"{folder}: holds the images of another set (or of stacks changed since); remove "
                "it, or start the run over with --overwrite"
            )
        _check(folder / "images.bin", about, len(table))
        return CachedImages(folder, len(table), box)
    _write(source, table, folder, block, name, progress)
    logger.info("%d images copied to %s", len(table), folder)
    return CachedImages(folder, len(table), box)


def set_name(table: ParticleTable) -> str:
    """Digest which images a table shows, and how their files look now."""
    digest = hashlib.sha256()
    for stack in table.stacks:
        about = os.stat(stack) if os.path.exists(stack) else None
        looks = None if about is None else (about.st_size, about.st_mtime_ns)
        digest.update(f"{stack}:{looks}".encode())
    columns = (table.stack_id, table.image_index, table.box, table.sign, table.ctf_applied)
    for column in columns:
        digest.update(b"-" if column is None else np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()


def check_same_set(table: ParticleTable) -> None:
    """Make sure that all processes see the same images, before they share work on them.

    **Raises:** `InputError` in every process if one sees others.
    """
    if jax.process_count() > 1:
        check_same("particles", set_name(table).encode())


def _write(
    source: ImageReader,
    table: ParticleTable,
    folder: Path,
    block: int,
    name: str,
    progress: Callable[[int], None] | None,
) -> None:
    """Append blocks to a hidden file, each with a line in a list, until all are there."""
    partial, listed = folder / ".images.bin.partial", folder / ".images.list.partial"
    count, size = len(table), 4 * source.box**2
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with partial.open("a+b") as out, listed.open("a+", encoding="ascii") as lines:
            sums = _found(out.fileno(), lines, name, block * size, count * size)
            done = min(len(sums) * block, count)
            if progress is not None and done:
                progress(done)
            out.truncate(done * size)
            for first in range(done, count, block):
                rows = np.arange(first, min(first + block, count))
                images = np.ascontiguousarray(source.read(rows), "<f4")
                check_finite(images, rows, table)
                out.write(images.tobytes())
                out.flush()
                sums.append(zlib.crc32(images.tobytes()))
                lines.write(f"{sums[-1]}\n")
                lines.flush()
                if progress is not None:
                    progress(len(rows))
            os.fsync(out.fileno())
        os.replace(partial, folder / "images.bin")
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror or error}") from error
    about = {"set": name, "images": count, "box": source.box, "block": block, "crc32": sums}
    write_text(folder / "images.json", json.dumps(about))
    listed.unlink(missing_ok=True)


def _found(file: int, lines, name: str, block_bytes: int, whole: int) -> list[int]:
    """Return the checksums of the whole blocks that an earlier program wrote."""
    lines.seek(0)
    listed = lines.read().split("\n")[:-1]
    sums: list[int] = []
    if listed[:1] == [name]:
        for number, word in enumerate(listed[1:]):
            place = number * block_bytes
            raw = _read_at(file, place, min(block_bytes, whole - place))
            if not word.isdigit() or not raw or zlib.crc32(raw) != int(word):
                break
            sums.append(int(word))
    lines.seek(0)
    lines.truncate()
    lines.write("".join(f"{word}\n" for word in (name, *sums)))
    lines.flush()
    return sums


def _check(file: Path, about: dict, count: int) -> None:
    """Read blocks spread over the file back and compare their checksums."""
    size, sums = 4 * about["box"] ** 2, about["crc32"]
    held = file.stat().st_size if file.is_file() else 0
    if held != count * size:
        raise InputError(f"{file}: {held} bytes instead of {count * size}; remove its folder")
    block_bytes = about["block"] * size
    descriptor = os.open(file, os.O_RDONLY)
    try:
        chosen = np.unique(np.linspace(0, len(sums) - 1, min(len(sums), _CHECKED)).astype(int))
        for number in chosen.tolist():
            place = number * block_bytes
            raw = _read_at(descriptor, place, min(block_bytes, held - place))
            if zlib.crc32(raw) != sums[number]:
                raise InputError(f"{file}: block {number} is damaged; remove its folder")
    finally:
        os.close(descriptor)

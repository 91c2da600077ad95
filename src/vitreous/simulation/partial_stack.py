"""A stack file that grows under a hidden name and goes on where a killed program left it."""

import fcntl
import os
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from vitreous.errors import InputError
from vitreous.mrc import HEADER_BYTES, build_header

_READ_AT_A_TIME = 64


class PartialStack:
    """Write square float32 images one after the other; the file gets its name with the last.

    **Arguments:** `path`: its name when it is whole; until then it is `.NAME.partial` beside it,
    which only one program at a time may write. `count`, `box`, `pixel_size` (Å): what it will hold.

    What a killed program wrote is kept: `stored` says how many images there are. The file does not
    depend on how often it was stopped, nor on how many images came at a time.
    """

    def __init__(self, path: Path, count: int, box: int, pixel_size: float) -> None:
        self.path, self.count, self.box, self.pixel_size = path, count, box, pixel_size
        self.partial = self.hidden(path)
        self._image_bytes = 4 * box * box
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.partial, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._file)
            raise InputError(f"{path}: another program is writing it") from error
        size = os.fstat(self._file).st_size
        self.stored = min(count, max(0, size - HEADER_BYTES) // self._image_bytes)
        self._tally = _Tally()
        for first in range(0, self.stored, _READ_AT_A_TIME):
            self._tally.add(self.read(first, min(first + _READ_AT_A_TIME, self.stored)))

    @staticmethod
    def hidden(path: Path) -> Path:
        """Name the file in which a stack grows."""
        return path.with_name(f".{path.name}.partial")

    def read(self, first: int, stop: int) -> Float32[np.ndarray, "b n n"]:
        """Return some of the stored images."""
        raw = os.pread(
            self._file,
            (stop - first) * self._image_bytes,
            HEADER_BYTES + first * self._image_bytes,
        )
        return np.frombuffer(raw, "<f4").reshape(-1, self.box, self.box)

    def discard(self) -> None:
        """Forget what is stored."""
        self.stored, self._tally = 0, _Tally()

    def write(self, images: Float32[np.ndarray, "b n n"]) -> None:
        """Append images."""
        images = np.ascontiguousarray(images, "<f4")
        data = memoryview(images.tobytes())
        place = HEADER_BYTES + self.stored * self._image_bytes
        try:
            while data:
                done = os.pwrite(self._file, data, place)
                data, place = data[done:], place + done
        except OSError as error:
            raise InputError(f"cannot write {self.path}: {error.strerror}") from error
        self.stored += len(images)
        self._tally.add(images)

    def finish(self) -> None:
        """Write the header and give the file its name."""
        if self.stored != self.count:
            raise ValueError(f"{self.path}: {self.stored} of {self.count} images were written")
        shape = (self.count, self.box, self.box)
        header = build_header(shape, self.pixel_size, statistics=self._tally.statistics())
        os.ftruncate(self._file, HEADER_BYTES + self.count * self._image_bytes)
        os.pwrite(self._file, header, 0)
        os.replace(self.partial, self.path)
        self.close()

    def close(self) -> None:
        """Let go of the file; what is stored stays."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class _Tally:
    """Sum up pixels image by image, so that the sums are the same however images come."""

    def __init__(self) -> None:
        self._low, self._high, self._sum, self._square, self._pixels = np.inf, -np.inf, 0.0, 0.0, 0

    def add(self, images: Float32[np.ndarray, "b n n"]) -> None:
        self._low = min(self._low, float(images.min(initial=np.inf)))
        self._high = max(self._high, float(images.max(initial=-np.inf)))
        for image in images:
            flat = image.reshape(-1)
            self._sum += float(flat.sum(dtype=np.float64))
            self._square += float(np.dot(flat, flat))
        self._pixels += images.size

    def statistics(self) -> tuple[float, float, float, float]:
        mean = self._sum / self._pixels
        deviation = max(0.0, self._square / self._pixels - mean**2) ** 0.5
        return self._low, self._high, mean, deviation

"""Write image stacks a few images at a time."""

import contextlib
import os
from types import TracebackType

import numpy as np

from vitreous.files import atomic_path
from vitreous.mrc import HEADER_BYTES, build_header


class StackWriter:
    """Write `count` square images to a float32 `.mrcs` file as they come.

    The file appears under its name only when every image has been written; on an error or Ctrl-C
    nothing is left behind.

    ```python
    with StackWriter("particles.mrcs", count=1000, box=128, pixel_size=3.2) as stack:
        for images in batches:
            stack.write(images)
    ```
    """

    def __init__(self, path: str | os.PathLike, count: int, box: int, pixel_size: float):
        """Name the file, the number of images, their side in pixels and Å per pixel."""
        self.path, self.count, self.box, self.pixel_size = path, count, box, float(pixel_size)
        self.written = 0
        self._low, self._high, self._sum, self._square = np.inf, -np.inf, 0.0, 0.0

    def __enter__(self) -> "StackWriter":
        self._exit = contextlib.ExitStack()
        temporary = self._exit.enter_context(atomic_path(self.path))
        try:
            self._handle = self._exit.enter_context(temporary.open("wb"))
            self._handle.write(bytes(HEADER_BYTES))
        except BaseException as error:
            self._exit.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def write(self, images: np.ndarray) -> None:
        """Append images of shape `(b, box, box)`, or one of `(box, box)`."""
        images = np.ascontiguousarray(images, "<f4").reshape(-1, *np.shape(images)[-2:])
        if images.shape[1:] != (self.box, self.box) or self.written + len(images) > self.count:
            raise ValueError(
                f"{len(images)} images of {images.shape[1:]} do not fit image {self.written} of "
                f"a stack of {self.count} with box {self.box}"
            )
        if not images.size:
            return
        self._handle.write(images.data)
        self.written += len(images)
        self._low, self._high = min(self._low, images.min()), max(self._high, images.max())
        self._sum += images.sum(dtype=np.float64)
        flat = images.reshape(-1)
        self._square += sum(float(np.dot(part, part)) for part in np.array_split(flat, len(images)))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            try:
                self._finish()
            except BaseException as fault:
                self._exit.__exit__(type(fault), fault, fault.__traceback__)
                raise
        self._exit.__exit__(kind, error, trace)

    def _finish(self) -> None:
        if self.written != self.count:
            raise ValueError(f"{self.path}: {self.written} of {self.count} images were written")
        pixels = max(1, self.count * self.box**2)
        mean = self._sum / pixels
        deviation = max(0.0, self._square / pixels - mean**2) ** 0.5
        statistics = (float(self._low), float(self._high), mean, deviation)
        self._handle.seek(0)
        self._handle.write(
            build_header((self.count, self.box, self.box), self.pixel_size, statistics=statistics)
        )


def write_stack(path: str | os.PathLike, images: np.ndarray, pixel_size: float) -> None:
    """Write images `(n, box, box)` as a float32 `.mrcs` file, in one step."""
    with StackWriter(path, len(images), images.shape[-1], pixel_size) as stack:
        stack.write(images)

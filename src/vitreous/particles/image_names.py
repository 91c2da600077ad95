"""Image names of RELION, `number@stack`, as numbers: which stack, which image in it."""

import numpy as np
from jaxtyping import Int32, Int64


class ImageNames:
    """Take `number@stack` names apart: the distinct stacks, and of each row stack and image.

    `fault`: the first row that names no image, counted from 0, and what stands there.
    """

    def __init__(self, count: int) -> None:
        self.stacks: dict[str, int] = {}
        self.stack_id: Int32[np.ndarray, " n"] = np.zeros(count, np.int32)
        self.image_index: Int64[np.ndarray, " n"] = np.zeros(count, np.int64)
        self.fault: tuple[int, str] | None = None

    def add(self, start: int, names: list[str]) -> None:
        """Take in the names of the rows from `start` on."""
        if self.fault is not None:
            return
        parts = [name.partition("@") for name in names]
        rows = slice(start, start + len(names))
        try:
            self.image_index[rows] = [int(part[0]) - 1 for part in parts]
        except (ValueError, OverflowError):
            self.image_index[rows] = -1
        stacks = self.stacks
        self.stack_id[rows] = [stacks.setdefault(part[2], len(stacks)) for part in parts]
        if self.image_index[rows].min(initial=0) < 0 or "" in stacks:
            bad = (k for k, part in enumerate(parts) if not _names_an_image(*part))
            place = next(bad, None)
            self.fault = None if place is None else (start + place, names[place])


def _names_an_image(number: str, _: str, stack: str) -> bool:
    return number.isdecimal() and int(number) > 0 and bool(stack)

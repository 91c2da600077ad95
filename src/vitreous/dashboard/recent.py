"""Results that the page asks for again by a number: the latest few are kept."""

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

from vitreous.errors import InputError

T = TypeVar("T")


class Recent(Generic[T]):
    """Hold the latest results of one kind.

    **Arguments:** `what`: one of them, in a word, for messages. `most`: how many are kept.
    """

    def __init__(self, what: str, most: int) -> None:
        self._what, self._most = what, most
        self._held: OrderedDict[int, T] = OrderedDict()
        self._count = 0
        self._lock = threading.Lock()

    def add(self, result: T) -> int:
        """Keep a result; return its number."""
        with self._lock:
            self._count += 1
            self._held[self._count] = result
            while len(self._held) > self._most:
                self._held.popitem(last=False)
            return self._count

    def __getitem__(self, number: int) -> T:
        with self._lock:
            if number not in self._held:
                raise InputError(f"{self._what} {number} is gone: make it again")
            self._held.move_to_end(number)
            return self._held[number]

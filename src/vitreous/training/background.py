"""Work that goes on behind a loop, one piece after the other; its failures come to the loop."""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor


class Background:
    """Do what it is given in a thread of its own, in that order.

    The thread is made when it is first needed. The program does not end before it is done.
    """

    def __init__(self) -> None:
        self._worker: ThreadPoolExecutor | None = None
        self._under_way: list[Future[None]] = []

    def do(self, work: Callable[[], None]) -> None:
        """Have something done after all that was asked for before."""
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, thread_name_prefix="behind")
        self._under_way.append(self._worker.submit(work))

    def check(self) -> None:
        """Raise what has failed by now; does not wait."""
        while self._under_way and self._under_way[0].done():
            self._under_way.pop(0).result()

    def wait(self) -> None:
        """Wait until nothing is left to do.

        What follows a failure is still done; the first failure is raised.
        """
        pending, self._under_way = self._under_way, []
        failures = [error for work in pending if (error := work.exception()) is not None]
        if failures:
            raise failures[0]


@contextlib.contextmanager
def quiet_threads() -> Iterator[None]:
    """Keep threads of a library from printing an exception that reaches us anyway."""
    hook, log = threading.excepthook, logging.getLogger("absl")
    disabled = log.disabled
    threading.excepthook = lambda _: None
    log.disabled = True
    try:
        yield
    finally:
        threading.excepthook, log.disabled = hook, disabled

"""Work done in order on a second thread, so that a disk writes while a device computes."""

import queue
import threading
from collections.abc import Callable
from types import TracebackType


class Background:
    """Do one task after the other on a thread of its own; a context manager.

    **Arguments:** `depth`: how many tasks may wait. Giving one more waits until the first is done,
    so that whoever produces them cannot run ahead of the disk.

    Leaving the block waits for all tasks; leaving it by an error drops those that wait. An error in
    a task is raised by the next call, or on leaving.
    """

    def __init__(self, depth: int = 2) -> None:
        self._tasks: queue.Queue[Callable[[], object] | None] = queue.Queue(depth)
        self._error: BaseException | None = None
        self._dropping = False
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> "Background":
        self._thread.start()
        return self

    def do(self, task: Callable[[], object]) -> None:
        """Hand over a task. **Raises:** what an earlier task raised."""
        self._complain()
        self._tasks.put(task)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._dropping = self._dropping or error is not None
        self._tasks.put(None)
        self._thread.join()
        if error is None:
            self._complain()

    def _complain(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            if self._dropping:
                continue
            try:
                task()
            except BaseException as error:
                self._error, self._dropping = error, True

"""Stop politely: a signal asks, the loop answers at its next safe place."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class StopRequest:
    """Remember the first signal that asked to stop."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.signal is not None


@contextlib.contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Turn SIGTERM and SIGUSR1 into a request inside the block.

    Repeated signals (batch systems send several) change nothing. Outside the main thread, where
    Python allows no handlers, the request is never made.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    kinds = (signal.SIGTERM, signal.SIGUSR1)
    before = {kind: signal.getsignal(kind) for kind in kinds}

    def remember(number: int, _: FrameType | None) -> None:
        request.signal = request.signal or signal.Signals(number)

    for kind in kinds:
        signal.signal(kind, remember)
    try:
        yield request
    finally:
        for kind in kinds:
            signal.signal(kind, before[kind])

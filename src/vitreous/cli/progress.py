"""A bar for commands that go through many things: how many, how fast, how long still."""

import contextlib
import time
from collections.abc import Callable, Iterator

# Seconds between two lines where no bar can be drawn, and before the first.
_LINE_INTERVAL = 20.0


@contextlib.contextmanager
def image_bar(title: str, total: int, unit: str = "images") -> Iterator[Callable[[int], None]]:
    """Show progress on standard error and yield the function that moves it on by some images.

    Where standard error is no terminal a plain line says the same every twenty seconds.

    **Arguments:** `unit`: what is counted, in the plural.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:,.0f} {unit}/s")

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(title, total, unit, console.print).advance
        return
    columns = (
        TextColumn(title),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=total)
        yield lambda images: bar.advance(task, images)


class _Lines:
    """Say how far it is from time to time, counting from the first call, which may skip ahead."""

    def __init__(self, title: str, total: int, unit: str, write: Callable[..., None]) -> None:
        self._title, self._total, self._unit, self._write = title, total, unit, write
        self._done, self._begun_at = 0, 0
        self._began = self._last = time.monotonic()

    def advance(self, count: int) -> None:
        if not self._done:
            # What was found done, or made while code was compiled, is no measure of speed.
            self._begun_at, self._began = count, time.monotonic()
        self._done += count
        now = time.monotonic()
        if now - self._last < _LINE_INTERVAL or self._done <= self._begun_at:
            return
        self._last = now
        rate = (self._done - self._begun_at) / max(now - self._began, 1e-9)
        left = (self._total - self._done) / rate
        self._write(
            f"{self._title}: {self._done:,} of {self._total:,}, {rate:,.0f} {self._unit}/s, "
            f"{left // 60:.0f} min {left % 60:02.0f} s left",
            highlight=False,
        )

"""What a fit tells whoever watches: a bar on a terminal, plain lines elsewhere, and `run.log`."""

import contextlib
import logging
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from vitreous.files import is_writer

# Seconds between two lines where no bar can be drawn.
_LINE_INTERVAL = 20.0


class FitProgress:
    """Show epoch, loss, images a second and the time left; a context manager.

    **Arguments:** `epochs`, `steps`: of the whole training and of an epoch. `console`: where to
    write, standard error by default; None stays silent.
    """

    def __init__(self, epochs: int, steps: int, console: Console | None) -> None:
        self._epochs, self._steps, self._console = epochs, steps, console
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._last_line = -_LINE_INTERVAL
        self._began: float | None = None
        self._begun_at = 0

    def __enter__(self) -> "FitProgress":
        if self._console is not None and self._console.is_terminal:
            self._bar = Progress(
                TextColumn("epoch {task.fields[epoch]}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("loss {task.fields[loss]}"),
                TextColumn("{task.fields[rate]} images/s"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(elapsed_when_finished=False),
                console=self._console,
                speed_estimate_period=120,
            )
            self._bar.start()
            self._task = self._bar.add_task(
                "fit",
                total=self._epochs * self._steps,
                epoch=f"1/{self._epochs}",
                loss="–",
                rate="–",
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def start(self, step: int) -> None:
        """Say at which step the fit goes on."""
        self._begun_at, self._began = step, None
        if self._bar is not None:
            self._bar.reset(self._task, completed=step)

    def advance(self, epoch: int, step: int, loss: float, images_per_second: float) -> None:
        """Show the place after a log interval."""
        rate = f"{images_per_second:.3g}" if images_per_second < 1e3 else f"{images_per_second:.0f}"
        if self._bar is not None:
            self._bar.update(
                self._task,
                completed=step,
                epoch=f"{epoch}/{self._epochs}",
                loss=f"{loss:.6g}",
                rate=rate,
            )
            return
        now = time.monotonic()
        if self._began is None:
            # The first interval holds the compilation: no measure of what is to come.
            self._began, self._begun_at = now, step
        done = step - self._begun_at
        if self._console is not None and now - self._last_line >= _LINE_INTERVAL and done > 0:
            self._last_line = now
            left = (now - self._began) / done * (self._epochs * self._steps - step)
            in_epoch = step - (epoch - 1) * self._steps
            self._console.print(
                f"epoch {epoch}/{self._epochs} step {in_epoch}/{self._steps} loss {loss:.6g} "
                f"{rate} images/s, {duration(left)} left",
                highlight=False,
                soft_wrap=True,
            )

    def tell(self, line: str) -> None:
        """Write one line above the bar."""
        if self._console is not None:
            (self._bar.console if self._bar is not None else self._console).print(
                line, highlight=False, soft_wrap=True
            )


def duration(seconds: float) -> str:
    """Word a time: `42 s`, `3 min 05 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


@contextlib.contextmanager
def run_log(folder: Path) -> Iterator[None]:
    """Write what the package logs inside the block to `run.log`, from level INFO.

    Of several processes only the first does.
    """
    if not is_writer():
        yield
        return
    logger = logging.getLogger("vitreous")
    file = (folder / "run.log").absolute()
    held = [h for h in logger.handlers if isinstance(h, logging.FileHandler)]
    if any(Path(handler.baseFilename) == file for handler in held):
        yield
        return
    handler = logging.FileHandler(file, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    # Libraries put handlers on the root logger; the same line would reach the screen twice.
    logger.propagate = False
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.propagate = propagate
        logger.removeHandler(handler)
        handler.close()

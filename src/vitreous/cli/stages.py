"""Progress of commands that do several things, one after the other."""

from typing import TYPE_CHECKING

from vitreous.files import is_writer

if TYPE_CHECKING:
    from vitreous.training.run import Run


class Stages:
    """Tell what is under way: a bar a stage on a terminal, a line a stage elsewhere."""

    def __enter__(self) -> "Stages":
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.progress import TimeElapsedColumn as Elapsed

        console = Console(stderr=True)
        self._tasks: dict[str, int] = {}
        self._console = console
        columns = (
            TextColumn("{task.description:34}"),
            BarColumn(),
            MofNCompleteColumn(),
            Elapsed(),
        )
        self._bars = Progress(*columns, console=console) if console.is_terminal else None
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show how far a stage is."""
        if self._bars is None:
            if done == total:
                self._console.print(stage, highlight=False)
            return
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=total)
        self._bars.update(self._tasks[stage], completed=done, total=total)  # type: ignore[arg-type]


def analyze_with_stages(run: "Run") -> None:
    """Analyze a finished run, show how far it is, and say where the report lies.

    Of several processes the first does.
    """
    if not is_writer():
        return
    import typer

    from vitreous.analysis.analyze import analyze

    with Stages() as stages:
        made = analyze(run, progress=stages)
    typer.echo(f"report: {made.report}")

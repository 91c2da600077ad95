"""`dashboard`: a run in the browser."""

from pathlib import Path
from typing import Annotated

import typer


def dashboard(
    run: Annotated[Path, typer.Argument(help="Folder of a run of any method, running or done.")],
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port; the next free one if it is taken.")
    ] = 8000,
    datadir: Annotated[Path | None, typer.Option(help="Folder of the stacks, if moved.")] = None,
    epoch: Annotated[int | None, typer.Option("-e", "--epoch", help="Epoch shown [last].")] = None,
    kmeans: Annotated[
        int | None, typer.Option("-k", "--kmeans", help="Which kmeansK, if there are several.")
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser here.")] = True,
) -> None:
    """Show a run in the browser: latents, volumes, paths, particles, landscape, training.

    Prints a link that opens the page once, on this machine only. From another machine, forward
    the port: `ssh -t -L 8000:localhost:8000 HOST`. Ctrl-C ends it.

    Example: `vitreous dashboard my_run --no-browser`
    """
    from vitreous.cli.common import start_jax

    start_jax()
    from vitreous.dashboard.serve import serve
    from vitreous.dashboard.session import Session

    session = Session(run, datadir, epoch, kmeans)
    for warning in session.warnings:
        typer.echo(f"vitreous: {warning}", err=True)
    serve(session, port, browser, typer.echo)

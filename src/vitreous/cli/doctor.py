"""`doctor`: what this machine offers a fit, and what to mend before a long run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitreous.cli.grouped import grouped

if TYPE_CHECKING:
    from vitreous.doctor.findings import Finding

_COLOURS = {"ok": "green", "note": "yellow", "mend": "red"}


def _show(finding: "Finding") -> None:
    label = typer.style(f"{finding.state:>4}", fg=_COLOURS[finding.state], bold=True)
    typer.echo(f"{label}  {finding}")


@grouped
def doctor(
    folder: Annotated[
        Path, typer.Option(help="Folder of your runs: the disk that is measured.")
    ] = Path("."),
    seconds: Annotated[
        float, typer.Option(min=0, help="Time for the benchmark of products and copies; 0: none.")
    ] = 10.0,
    disk_size: Annotated[
        int, typer.Option(min=1, help="MiB written to and read from the disk.")
    ] = 256,
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Look at devices, driver, precision, memory, disk, programs and the peers of a run.

    A line for each, with what to do about it. Exits with 0 if all is fine and with 1 if there is
    something to mend. Started in several processes (launch, srun, mpirun), it also tries how they
    reach each other.

    Example: `vitreous doctor --folder /scratch/runs`
    """
    from vitreous.cli.common import cache_folder, start_jax
    from vitreous.doctor.examine import examine
    from vitreous.doctor.findings import must_mend, to_json
    from vitreous.errors import InputError
    from vitreous.files import is_writer

    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the one of your runs with --folder")
    start_jax()
    found = []
    for finding in examine(folder, cache_folder(), seconds=seconds, disk_bytes=disk_size << 20):
        found.append(finding)
        if not json and is_writer():
            _show(finding)
    if json and is_writer():
        typer.echo(to_json(found))
    if must_mend(found):
        raise typer.Exit(1)

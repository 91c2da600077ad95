"""`vitreous check`: what to mend before training."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitreous.cli.grouped import grouped
from vitreous.cli.particle_flags import ParticleFlags, Particles

if TYPE_CHECKING:
    from vitreous.reconstruction.checks.report import Report


def show_report(report: "Report") -> None:
    """Print a line a fact, and a line a finding with its mend."""
    for fact in report.facts:
        typer.echo(f"{'open' if fact.is_open else '  ok'}  {fact}")
    for finding in report.findings:
        typer.secho(f"MEND  {finding}", fg="red", bold=True)
    if report.is_fine:
        typer.secho("nothing to mend", fg="green")


@grouped
def check(
    particles: Particles,
    which: ParticleFlags,
    no_ctf: Annotated[bool, typer.Option("--no-ctf", help="The images have no CTF.")] = False,
    uninvert_data: Annotated[
        bool, typer.Option("--uninvert-data", help="The particles are known to be dark.")
    ] = False,
    reference: Annotated[
        Path | None, typer.Option(help="A map of the molecule: decides the hand.")
    ] = None,
    outdir: Annotated[
        Path | None, typer.Option("-o", "--outdir", help="Write check.png and check.json here.")
    ] = Path("check"),
    first: Annotated[int, typer.Option(min=1, help="Look at the first N images.")] = 10_000,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Check the first particles of a set: files, units, contrast, CTF, poses, half maps, hand.

    Prints a line a finding with its mend, and draws the map, its half-map FSC and some particles.
    Exits with 0 if all is fine and with 1 if there is something to mend.

    Example: `vitreous check particles.star --reference emd_1234.mrc -o check`
    """
    from vitreous.cli.common import start_jax

    start_jax()
    from rich.console import Console

    from vitreous.reconstruction.checks import check_particles

    with Console(stderr=True).status("checking") as status:
        report = check_particles(
            particles,
            **which.arguments(),
            expect_ctf=not no_ctf,
            expect_dark=uninvert_data,
            reference=reference,
            folder=outdir,
            first=first,
            progress=lambda stage: status.update(stage),
        )
    if json:
        typer.echo(report.to_json())
    else:
        show_report(report)
        if report.picture is not None:
            typer.echo(f"picture: {report.picture}")
    raise typer.Exit(0 if report.is_fine else 1)

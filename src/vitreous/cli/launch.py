"""`launch` and `slurm`: one command in many processes, here or on a cluster."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from vitreous.cli.grouped import grouped
from vitreous.errors import InputError

Words = Annotated[
    list[str], typer.Argument(metavar="-- COMMAND …", help="A vitreous command, or any program.")
]


def _command(words: list[str]) -> list[str]:
    """Complete a command: `train-vae …` means this program's."""
    from vitreous.cli.main import ALIASES, COMMANDS

    if not words:
        raise InputError("no command to run: give it after --, as in -- train-vae …")
    first = words[0].replace("_", "-")
    name = ALIASES.get(first, first)
    if name in ("launch", "slurm"):
        raise InputError(f"{name}: cannot be started by another; give the command itself")
    ours = [sys.executable, "-m", "vitreous.cli.main"]
    if name in COMMANDS:
        return [*ours, *words]
    return [*ours, *words[1:]] if words[0] == "vitreous" else words


@grouped
def launch(
    words: Words,
    processes: Annotated[
        int, typer.Option("-n", "--processes", min=1, help="Processes, sharing cores and GPUs.")
    ] = 2,
    logs: Annotated[
        Path | None, typer.Option(help="Folder of the other processes' output [a temporary one].")
    ] = None,
) -> None:
    """Run a command in several processes on this machine, as one.

    The first process shows its output; the others write process.N.log. If one fails, the others
    are ended, and its last line is shown. Ctrl-C, SIGTERM and SIGUSR1 reach all of them.

    Example: `vitreous launch -n 2 -- train-vae particles.star -o run`
    """
    from vitreous.training.launching import Ended
    from vitreous.training.launching import launch as start

    try:
        start(_command(words), processes, logs)
    except Ended as ended:
        if str(ended):
            typer.echo(f"vitreous: {ended}", err=True)
        raise typer.Exit(ended.status) from None


@grouped
def slurm(
    words: Words,
    nodes: Annotated[int, typer.Option(min=1, help="Machines.")] = 1,
    gpus: Annotated[int, typer.Option(min=0, help="GPUs of each, a process each; 0: CPUs.")] = 1,
    time: Annotated[str, typer.Option(help="Time limit; the job goes on after it.")] = "24:00:00",
    warning: Annotated[
        int, typer.Option(min=30, help="Seconds before the limit at which the fit saves.")
    ] = 300,
    cores: Annotated[int, typer.Option(min=1, help="Cores of each process.")] = 8,
    mem: Annotated[str | None, typer.Option(help="Memory of each machine, as 200G.")] = None,
    partition: Annotated[str | None, typer.Option(help="Partition of the cluster.")] = None,
    account: Annotated[str | None, typer.Option(help="Account to charge.")] = None,
    sbatch: Annotated[
        list[str] | None, typer.Option(help="More options of sbatch, as --sbatch=--exclusive.")
    ] = None,
    submit: Annotated[bool, typer.Option("--submit", help="Submit it, too.")] = False,
) -> None:
    """Print the batch script that runs a command on a SLURM cluster.

    A process for each GPU. Before its time is up the fit saves its state, the job is queued again
    and goes on with --resume.

    Example: `vitreous slurm --nodes 2 --gpus 4 --time 24:00:00 -- train-vae particles.star -o run`
    """
    from vitreous.training.slurm import Job, batch_script
    from vitreous.training.slurm import submit as hand_over

    job = Job(nodes, gpus, time, warning, cores, mem, partition, account, tuple(sbatch or ()))
    script = batch_script(_command(words), job)
    typer.echo(script, nl=False)
    if submit:
        typer.echo(hand_over(script), err=True)

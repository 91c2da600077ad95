"""`analyze-convergence`: what the saved epochs of a fit say of each other."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitreous.cli.analysis_flags import Epoch, Seed, VolumeFlags, WorkDir, read_epoch
from vitreous.cli.common import start_jax
from vitreous.cli.grouped import grouped
from vitreous.cli.stages import Stages

if TYPE_CHECKING:
    from vitreous.analysis.convergence import Convergence


@grouped
def analyze_convergence(
    workdir: WorkDir,
    treatment: VolumeFlags,
    epoch: Epoch = "last",
    output: Annotated[
        Path | None, typer.Option("-o", "--outdir", help="In place of convergence.N in the run.")
    ] = None,
    epoch_interval: Annotated[
        int, typer.Option("--epoch-interval", help="Epochs between two compared ones.")
    ] = 5,
    final_maxima: Annotated[
        int, typer.Option("--final-maxima", help="Particles whose volumes are followed.")
    ] = 10,
    neighbors: Annotated[
        int, typer.Option("--neighbors", help="Neighbours of each particle that are compared.")
    ] = 50,
    skip_volgen: Annotated[
        bool, typer.Option("--skip-volgen", help="Compare latents only.")
    ] = False,
    keep_volumes: Annotated[
        bool, typer.Option("--keep-volumes", help="Write the volumes of every epoch.")
    ] = False,
    seed: Seed = 0,
) -> None:
    """Tell whether a fit has converged, from the epochs it saved.

    Compared with the epoch before: which neighbours each particle keeps in the latent space, and
    the volumes of the same particles by their FSC. Above 0.9 for both, a fit has settled.

    Example: `vitreous analyze-convergence my_run --epoch-interval 2`
    """
    start_jax()
    from vitreous.analysis.convergence import ConvergenceOptions
    from vitreous.analysis.convergence import analyze_convergence as analyze
    from vitreous.training.run import Run

    options = ConvergenceOptions(
        interval=epoch_interval,
        maxima=final_maxima,
        neighbours=neighbors,
        volumes=not skip_volgen,
        keep_volumes=keep_volumes,
        treatment=treatment.options(),
        pixel_size=treatment.pixel_size,
        seed=seed,
    )
    with Stages() as tell:
        found = analyze(Run.open(workdir), read_epoch(epoch), options, output, tell)
    _tell(found, options.settled)


def _tell(found: "Convergence", settled: float) -> None:
    for i, later in enumerate(found.epochs[1:]):
        line = f"epoch {later:<4d} neighbours kept {found.neighbours[i]:.1%}"
        if found.volumes is not None:
            areas = found.volumes[i]
            line += f"   FSC area {areas.mean():.3f}, lowest {areas.min():.3f}"
        typer.echo(line)
    is_settled = found.is_settled(settled)
    typer.echo("settled" if is_settled else "not settled: volumes or neighbours still change")
    typer.echo(f"{found.folder}")

"""`train-subspace` and `regress`: flags → settings → one public function each."""

import logging
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitreous.cli.grouped import grouped
from vitreous.cli.particle_flags import ContrastFlags, ParticleFlags, Particles
from vitreous.cli.subspace_flags import ComponentFlags, IterationFlags, SeriesFlags
from vitreous.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from vitreous.training.run import Run


@grouped
def train_subspace(
    particles: Particles,
    outdir: Annotated[Path, typer.Option("-o", "--outdir", help="Folder of the run.")],
    which: ParticleFlags,
    sign: ContrastFlags,
    components: ComponentFlags,
    course: IterationFlags,
    series: SeriesFlags,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --outdir, as it was started.")
    ] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace a run in --outdir.")] = False,
    lazy: Annotated[bool, typer.Option(help="Stream images from disk.")] = False,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    analysis: Annotated[bool, typer.Option(help="Analyze at the end.")] = True,
) -> None:
    """Fit a linear subspace of volumes by EM: a first landscape, before any network.

    Writes latents with their uncertainty, what decodes them, and `components.png`: how many
    components the data support.

    Example: `vitreous train-subspace particles.star -o run`
    """
    from vitreous.cli.common import start_jax

    start_jax()
    from vitreous.cli.common import resume_command
    from vitreous.cli.stages import Stages, analyze_with_stages
    from vitreous.methods.subspace.config import SubspaceConfig
    from vitreous.methods.subspace.fit import train_subspace as train
    from vitreous.training.inputs import DataOptions

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    given = components.settings() | course.settings() | series.settings()
    config = SubspaceConfig(**given, seed=seed)
    tilts = series.ntilts
    data = DataOptions(**which.arguments(), contrast=sign.contrast(), lazy=lazy, tilts=tilts)
    with Stages() as stages:
        run = train(
            particles,
            outdir,
            config,
            data,
            resume=resume,
            overwrite=overwrite,
            resume_command=resume_command(),
            progress=stages,
        )
    typer.echo(f"{run.config['zdim']} components, latents: {run.path / 'latents.npz'}")
    if analysis:
        analyze_with_stages(run)


def regress(
    run: Annotated[Path, typer.Argument(help="Folder of a run of any method.")],
    outdir: Annotated[Path, typer.Option("-o", "--outdir", help="Folder for the volumes.")],
    z: Annotated[
        list[float] | None, typer.Option("-z", "--z", help="Latent value, one number each.")
    ] = None,
    zfile: Annotated[Path | None, typer.Option(help="Text file, a latent value a line.")] = None,
    ind: Annotated[
        list[int] | None, typer.Option("--image", help="At the latents of these images.")
    ] = None,
    selection: Annotated[
        list[str] | None,
        typer.Option("--selection", help="Of this selection: its name in the run, or a row file."),
    ] = None,
    datadir: Annotated[Path | None, typer.Option(help="Folder of the stacks, if moved.")] = None,
    epoch: Annotated[int | None, typer.Option(help="Of the latents [last].")] = None,
    lazy: Annotated[bool, typer.Option(help="Stream images from disk.")] = False,
) -> None:
    """Reconstruct volumes from the images whose latents lie near given values.

    No decoder is asked: every volume is an average of images, with half maps, FSC, local
    resolution and the number of images behind it. That of a `--selection` comes from its own
    images, and takes in their neighbours on shells where the signal is weak.

    Example: `vitreous regress run --image 0 --image 17 -o volumes`
    """
    from vitreous.cli.common import start_jax

    start_jax()
    from vitreous.analysis.candidates import Candidates
    from vitreous.analysis.regression import open_regression, regressions, write_volumes
    from vitreous.analysis.selection_map import chosen_by, regress_selections
    from vitreous.cli.stages import Stages
    from vitreous.training.run import Run

    opened = Run.open(run)
    points = _points(opened, epoch, z, zfile, ind)
    names = selection or []
    if not points and not names:
        raise InputError("no place given: use --z, --zfile, --image or --selection")
    chosen = {}
    if names:
        candidates = Candidates(run, epoch, datadir=datadir)
        chosen = {name: chosen_by(candidates, name) for name in names}
    made: Iterator = iter(())
    if points:
        near = open_regression(opened, epoch, lazy=lazy, datadir=datadir, together=True)
        made = regressions(near, points)
    if chosen:
        made = chain(made, regress_selections(opened, opened.table(datadir), chosen, epoch))
    total = len(points) + len(chosen)
    with Stages() as stages:
        write_volumes(
            opened, made, total, outdir, lambda done, total: stages("volumes", done, total)
        )
    typer.echo(f"{total} volumes in {outdir}")


def _points(
    run: "Run",
    epoch: int | None,
    z: list[float] | None,
    zfile: Path | None,
    ind: list[int] | None,
) -> "list[np.ndarray]":
    """Collect the latent values that were asked for."""
    import numpy as np

    points = []
    if z:
        points.append(np.asarray(z))
    if zfile is not None:
        if not zfile.is_file():
            raise InputError(f"{zfile}: no such file")
        try:
            points.extend(np.loadtxt(zfile, ndmin=2))
        except ValueError as error:
            raise InputError(f"{zfile}: not a table of numbers ({error})") from error
    if not points and not ind:
        return []
    latent = run.latents(epoch).mean
    for row in ind or []:
        if not 0 <= row < len(latent):
            raise InputError(f"--image {row}: the run has images 0 to {len(latent) - 1}")
        points.append(latent[row])
    wrong = [p for p in points if len(p) != latent.shape[1]]
    if wrong:
        raise InputError(
            f"a value of {len(wrong[0])} numbers, the latents of {run.path} have {latent.shape[1]}"
        )
    return points

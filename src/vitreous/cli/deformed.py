"""Commands that undo the motion a flexible run found, or invert it."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitreous.cli.common import start_jax
from vitreous.cli.deformed_flags import PeerFlags, PipelineControl, RunFolder, UndoFlags
from vitreous.cli.grouped import grouped
from vitreous.cli.pipeline import relion_job
from vitreous.errors import InputError

if TYPE_CHECKING:
    from vitreous.training.run import Run


@grouped
def deformable_backprojection(
    run: RunFolder,
    peer: PeerFlags,
    undo: UndoFlags,
    mask_reconstruction: Annotated[
        bool,
        typer.Option(
            "--mask-reconstruction/--no-mask-reconstruction",
            help="Set map.mrc to 0 outside the molecule; half maps stay whole.",
        ),
    ] = False,
    outdir: Annotated[
        Path | None, typer.Option("-o", "--outdir", help="Folder for maps [RUN/backprojection].")
    ] = None,
    pipeline_control: PipelineControl = None,
) -> None:
    """Reconstruct a run's particles with their motion undone, and say whether it helped.

    Each half set is undone by its own half's model. Writes map_half1.mrc, map_half2.mrc, map.mrc,
    the plain maps of the same images, fsc.txt, fsc.png, local_resolution.mrc, slices.png and
    verdict.json to RUN/backprojection. No inverse deformation is needed.

    Example: `vitreous deformable-backprojection run --mask-file mask.mrc`
    """
    peer.tell()
    opened = _open(run)
    with relion_job(pipeline_control):
        start_jax()
        from vitreous.cli.stages import Stages
        from vitreous.methods.flexible.undoing.backproject import backproject_run
        from vitreous.reconstruction.deformed.outputs import write_deformed

        with Stages() as stages:
            result, verdict = backproject_run(opened, undo.options(), stages)
        folder = outdir or opened.path / "backprojection"
        write_deformed(result, verdict, folder, mask_reconstruction)
        typer.echo(f"{folder}: {result.images:,} images at {result.voxel_size:g} Å/voxel")
        typer.echo(verdict.line)


@grouped
def optimize_inverse_deformations(
    run: RunFolder,
    peer: PeerFlags,
    checkpoint_file: Annotated[
        Path | None, typer.Option("--checkpoint-file", help="Checkpoint of the run [last].")
    ] = None,
    n_epochs: Annotated[int, typer.Option(help="Epochs.")] = 50,
    batch_size: Annotated[int, typer.Option(help="Images at a time; 0 chooses.")] = 128,
    save_deformations: Annotated[
        bool,
        typer.Option(
            "--save-deformations/--no-save-deformations", help="Keep all deformations in memory."
        ),
    ] = False,
    add_noise: Annotated[
        bool, typer.Option("--add-noise/--no-add-noise", help="Learn between the Gaussians too.")
    ] = False,
    map_file: Annotated[
        Path | None, typer.Option("--map", help="Map to deform to the states of --image.")
    ] = None,
    image: Annotated[
        list[int] | None, typer.Option("--image", help="Particle to deform --map to, from 0.")
    ] = None,
    exact: Annotated[
        bool, typer.Option(help="Deform --map by the exact inverse; else by the network.")
    ] = True,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    pipeline_control: PipelineControl = None,
) -> None:
    """Fit a network that inverts a run's deformations, and deform maps.

    Back-projection does not need it: deformable-backprojection follows the deformations forward.
    Writes inverse_deformations/inverse.npz, and one map for each --image.

    Example: `vitreous optimize-inverse-deformations run --map map.mrc --image 12 --image 40`
    """
    peer.tell()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    opened = _open(run)
    with relion_job(pipeline_control):
        start_jax()
        from vitreous.cli.stages import Stages
        from vitreous.methods.flexible.undoing.inverse_files import deform_to_images, invert_run
        from vitreous.methods.flexible.undoing.inverse_network import InverseOptions

        if (map_file is None) != (not image):
            raise InputError("--map and --image go together: a map, and whose states it is put in")
        options = InverseOptions(
            n_epochs, batch_size or 128, save_deformations=save_deformations,
            add_noise=add_noise, seed=seed,
        )  # fmt: skip
        with Stages() as stages:
            fits = invert_run(opened, options, checkpoint_file, stages)
        for number, fit in enumerate(fits, 1):
            typer.echo(
                f"half {number}: inverse within {fit.error:.3f} Å rms of motion of "
                f"{fit.motion:.2f} Å rms; back-projection does not need it"
            )
        if map_file is not None and image:
            made = deform_to_images(opened, map_file, image, checkpoint_file, exact)
            typer.echo(f"wrote {', '.join(path.name for path in made)} in {made[0].parent}")


def _open(path: Path) -> "Run":
    from vitreous.training.run import Run

    return Run.open(path)

"""Commands that undo the motion a flexible run found, or invert it."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from vitreous.cli.common import start_jax
from vitreous.cli.grouped import grouped
from vitreous.cli.pipeline import relion_job
from vitreous.errors import InputError

if TYPE_CHECKING:
    from vitreous.training.run import Run

RunFolder = Annotated[Path, typer.Argument(help="Folder of a run of optimize-deformations.")]
PipelineControl = Annotated[
    Path | None, typer.Option(help="Folder for RELION_JOB_EXIT_SUCCESS or _FAILURE.")
]


@dataclass(frozen=True)
class PeerFlags:
    """Accept what DynaMight's commands need and these do not."""

    panel: ClassVar[str] = "Accepted for old scripts, without effect"
    refinement_star_file: Annotated[
        Path | None, typer.Option(help="The run knows its particles.")
    ] = None
    inverse_deformation_directory: Annotated[
        Path | None, typer.Option(help="No inverse is needed.")
    ] = None
    gpu_id: Annotated[int | None, typer.Option(help="JAX chooses the device.")] = None
    preload_images: Annotated[
        bool, typer.Option("--preload-images", help="Images are read once.")
    ] = False
    particle_diameter: Annotated[float | None, typer.Option(help="No image is masked.")] = None
    mask_soft_edge_width: Annotated[float | None, typer.Option(help="No image is masked.")] = None
    data_loader_threads: Annotated[int | None, typer.Option(help="None are needed.")] = None

    def tell(self) -> None:
        """Say in one line which of them were given."""
        given = [n for n, value in vars(self).items() if value is not None and value is not False]
        if given:
            flags = ", ".join("--" + name.replace("_", "-") for name in given)
            typer.echo(f"note: without effect here: {flags}", err=True)


@grouped
def deformable_backprojection(
    run: RunFolder,
    peer: PeerFlags,
    vae_directory: Annotated[
        Path | None,
        typer.Option("--vae-directory", help="Checkpoint of the run, a file or folder [last]."),
    ] = None,
    checkpoint_file: Annotated[
        Path | None, typer.Option("--checkpoint-file", help="The same by its other name.")
    ] = None,
    mask_file: Annotated[
        Path | None, typer.Option(help="Map that is 1 where motion is undone [all].")
    ] = None,
    downsample: Annotated[
        int, typer.Option(min=1, help="Evaluate the field on a grid so many times as coarse.")
    ] = 1,
    backprojection_batch_size: Annotated[
        int | None, typer.Option(min=1, help="Images at a time [by memory].")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="The same by its other name.")
    ] = None,
    mask_reconstruction: Annotated[
        bool,
        typer.Option(
            "--mask-reconstruction/--no-mask-reconstruction",
            help="Set map.mrc to 0 outside the molecule; half maps stay whole.",
        ),
    ] = False,
    max_difference: Annotated[
        float | None,
        typer.Option(min=0, help="Leave out images the half sets differ on by more, Å [none]."),
    ] = None,
    iterations: Annotated[
        int, typer.Option(min=0, help="Conjugate gradient steps on the normal equations.")
    ] = 0,
    reach: Annotated[
        float | None, typer.Option(min=0, help="How far from Gaussians voxels move, Å [chosen].")
    ] = None,
    do_deformations: Annotated[
        bool, typer.Option(help="Undo the motion; --no-do-deformations makes the plain map.")
    ] = True,
    outdir: Annotated[
        Path | None, typer.Option("-o", "--outdir", help="Folder for maps [RUN/backprojection].")
    ] = None,
    datadir: Annotated[Path | None, typer.Option(help="Folder of the stacks, if moved.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the phase randomisation.")] = 0,
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
        from vitreous.methods.flexible.undoing.backproject import (
            BackprojectOptions,
            backproject_run,
        )
        from vitreous.reconstruction.deformed.outputs import write_deformed

        checkpoint = vae_directory or checkpoint_file
        options = BackprojectOptions(
            checkpoint=None if checkpoint is None else str(checkpoint),
            mask_file=None if mask_file is None else str(mask_file),
            downsample=downsample,
            batch=backprojection_batch_size or batch_size,
            iterations=iterations,
            do_deformations=do_deformations,
            reach=reach,
            max_difference=max_difference,
            datadir=None if datadir is None else str(datadir),
            seed=seed,
        )
        with Stages() as stages:
            result, verdict = backproject_run(opened, options, stages)
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
        bool, typer.Option("--save-deformations", help="Keep all deformations in memory.")
    ] = False,
    add_noise: Annotated[
        bool, typer.Option("--add-noise", help="Learn between the Gaussians too.")
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

"""Options of the commands that undo or invert the motion of a flexible run."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

if TYPE_CHECKING:
    from vitreous.methods.flexible.undoing.backproject import BackprojectOptions

RunFolder = Annotated[Path, typer.Argument(help="Folder of a run of optimize-deformations.")]
PipelineControl = Annotated[
    Path | None, typer.Option(help="Folder for RELION_JOB_EXIT_SUCCESS or _FAILURE.")
]


def _tell(values: dict[str, Any]) -> None:
    given = [name for name, value in values.items() if value is not None and value is not False]
    if given:
        flags = ", ".join("--" + name.replace("_", "-") for name in given)
        typer.echo(f"note: without effect here: {flags}", err=True)


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
        bool,
        typer.Option("--preload-images/--no-preload-images", help="Images are read once."),
    ] = False
    particle_diameter: Annotated[float | None, typer.Option(help="No image is masked.")] = None
    mask_soft_edge_width: Annotated[float | None, typer.Option(help="No image is masked.")] = None
    data_loader_threads: Annotated[int | None, typer.Option(help="None are needed.")] = None

    def tell(self) -> None:
        """Say in one line which of them were given."""
        _tell(vars(self))


@dataclass(frozen=True)
class WindowFlags:
    """Accept what DynaMight's window needs and files do not."""

    panel: ClassVar[str] = PeerFlags.panel
    inverse_deformation: Annotated[Path | None, typer.Option(help="No inverse is needed.")] = None
    atomic_model: Annotated[Path | None, typer.Option(help="The run knows its model.")] = None
    mask_file: Annotated[Path | None, typer.Option(help="The run knows its mask.")] = None
    soft_edge_width: Annotated[float | None, typer.Option(help="No image is masked.")] = None
    batch_size: Annotated[int | None, typer.Option(help="Chosen by memory.")] = None
    n_workers: Annotated[int | None, typer.Option(help="None are needed.")] = None
    no_cluster: Annotated[bool, typer.Option("--no-cluster", help="As is usual.")] = False

    def tell(self) -> None:
        """Say in one line which of them were given."""
        _tell(vars(self))


@dataclass(frozen=True)
class UndoFlags:
    """How motion is undone."""

    panel: ClassVar[str] = "Undoing motion"
    vae_directory: Annotated[
        Path | None,
        typer.Option("--vae-directory", help="Checkpoint of the run, a file or folder [last]."),
    ] = None
    checkpoint_file: Annotated[
        Path | None, typer.Option("--checkpoint-file", help="The same by its other name.")
    ] = None
    mask_file: Annotated[
        Path | None, typer.Option(help="Map that is 1 where motion is undone [all].")
    ] = None
    downsample: Annotated[
        int, typer.Option(min=1, help="Evaluate the field on a grid so many times as coarse.")
    ] = 1
    backprojection_batch_size: Annotated[
        int | None, typer.Option(min=1, help="Images at a time [by memory].")
    ] = None
    batch_size: Annotated[int | None, typer.Option(min=1, help="The same by its other name.")] = (
        None
    )
    max_difference: Annotated[
        float | None,
        typer.Option(min=0, help="Leave out images the half sets differ on by more, Å [none]."),
    ] = None
    iterations: Annotated[
        int, typer.Option(min=0, help="Conjugate gradient steps on the normal equations.")
    ] = 0
    reach: Annotated[
        float | None, typer.Option(min=0, help="How far from Gaussians voxels move, Å [chosen].")
    ] = None
    do_deformations: Annotated[
        bool, typer.Option(help="Undo the motion; --no-do-deformations makes the plain map.")
    ] = True
    datadir: Annotated[Path | None, typer.Option(help="Folder of the stacks, if moved.")] = None
    seed: Annotated[int, typer.Option(help="Seed of the phase randomisation.")] = 0

    def options(self) -> "BackprojectOptions":
        """Return them as the function behind the command takes them."""
        from vitreous.methods.flexible.undoing.backproject import BackprojectOptions

        def text(path: Path | None) -> str | None:
            return None if path is None else str(path)

        return BackprojectOptions(
            checkpoint=text(self.vae_directory or self.checkpoint_file),
            mask_file=text(self.mask_file),
            downsample=self.downsample,
            batch=self.backprojection_batch_size or self.batch_size,
            iterations=self.iterations,
            do_deformations=self.do_deformations,
            reach=self.reach,
            max_difference=self.max_difference,
            datadir=text(self.datadir),
            seed=self.seed,
        )

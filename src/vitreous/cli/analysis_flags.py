"""What commands on a finished run share: which run and epoch, and what is done to its volumes."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import typer

from vitreous.errors import InputError

if TYPE_CHECKING:
    from vitreous.analysis.postprocess import VolumeOptions
    from vitreous.training.run import Run

WorkDir = Annotated[Path, typer.Argument(help="The run folder.")]
Epoch = Annotated[str, typer.Argument(help="Epoch; -1 or 'last' for the last one.")]
VolumesFrom = Annotated[
    Literal["decoder", "regression"],
    typer.Option(help="What the run decodes, or averages of the images near each point."),
]
FirstFile = Annotated[int, typer.Option("--vol-start-index", help="Number of the first file.")]
Seed = Annotated[int, typer.Option("--seed", "--random-seed", help="Of every random choice.")]
Apix = Annotated[
    float | None,
    typer.Option("--Apix", "--apix", help="Å per decoded voxel, in place of the run's own."),
]
Flip = Annotated[bool, typer.Option("--flip", help="Mirror the volumes (the other hand).")]
Downsample = Annotated[
    int | None, typer.Option("--downsample", "-d", help="New box, by Fourier cropping.")
]


@dataclass(frozen=True)
class VolumeFlags:
    """What is done to decoded volumes before they are written."""

    panel: ClassVar[str] = "Volumes"
    pixel_size: Apix = None
    flip: Flip = False
    invert: Annotated[bool, typer.Option("--invert", help="Negate the volumes.")] = False
    downsample: Downsample = None
    low_pass: Annotated[float | None, typer.Option("--low-pass", help="Low-pass filter, Å.")] = None
    crop: Annotated[
        int | None, typer.Option("--crop", help="New box, cut in real space after downsampling.")
    ] = None

    def options(self) -> "VolumeOptions":
        """Return them as the analysis takes them."""
        from vitreous.analysis.postprocess import VolumeOptions

        return VolumeOptions(self.downsample, self.low_pass, self.crop, self.flip, self.invert)


def read_epoch(word: str) -> int | None:
    """Read an epoch from the command line; None for the last.

    **Raises:** `InputError` if it is no number.
    """
    if word in ("last", "latest", "-1"):
        return None
    try:
        return int(word)
    except ValueError:
        raise InputError(f"epoch {word!r}: give a number, or 'last'") from None


def open_run(workdir: Path, epoch: str) -> "tuple[Run, int]":
    """Open a run and find the epoch meant.

    **Raises:** `InputError` if there is no run, or no such epoch.
    """
    from vitreous.analysis.epochs import find_epoch
    from vitreous.training.run import Run

    run = Run.open(workdir)
    return run, find_epoch(run, read_epoch(epoch))

"""Options of every fit by steps: where its run lives, and how images are prepared and held."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer

from vitreous.errors import InputError


@dataclass(frozen=True)
class PlaceFlags:
    """Where the run lives, and how it is gone on with."""

    panel: ClassVar[str] = "Run"
    load: Annotated[
        str | None,
        typer.Option("--load", help="Go on with the run in --outdir: 'latest' or a path in it."),
    ] = None
    resume: Annotated[bool, typer.Option("--resume", help="The same as --load latest.")] = False
    overwrite: Annotated[bool, typer.Option(help="Replace a run that --outdir holds.")] = False
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="More lines in the log.")] = False

    def goes_on(self, outdir: Path) -> bool:
        """Say whether an earlier run is gone on with.

        **Raises:** `InputError` if `--load` names something outside the run.
        """
        if self.load not in (None, "latest"):
            target = Path(self.load).resolve()
            if outdir.resolve() not in (target, *target.parents):
                raise InputError(f"--load {self.load}: not inside --outdir {outdir}")
        return self.resume or self.load is not None


@dataclass(frozen=True)
class RunFlags(PlaceFlags):
    """How often a run is saved and reported on, too."""

    checkpoint: Annotated[int, typer.Option(help="Save every so many epochs.")] = 1
    log_interval: Annotated[int, typer.Option(help="Report about every so many images.")] = 1000


@dataclass(frozen=True)
class ImageFlags:
    """How images are prepared and held."""

    panel: ClassVar[str] = "Images"
    window: Annotated[bool, typer.Option("--window/--no-window", help="Soft round window.")] = True
    window_radius: Annotated[
        float, typer.Option("--window-r", help="Where the window begins to fall (of half a box).")
    ] = 0.85
    norm: Annotated[
        tuple[float, float] | None,
        typer.Option("--norm", help="Mean and standard deviation of the images [measured]."),
    ] = None
    lazy: Annotated[bool, typer.Option(help="Stream images from disk even if they would fit.")] = (
        False
    )
    cache: Annotated[
        bool | None,
        typer.Option(help="Copy them into one file beside the run first [if too many, scattered]."),
    ] = None
    shuffler_size: Annotated[
        int,
        typer.Option(help="With --lazy: read runs of neighbouring images (for spinning disks)."),
    ] = 0
    max_threads: Annotated[int, typer.Option("--max-threads", help="Threads that read images.")] = 4
    storage: Annotated[
        str, typer.Option(help="Of images held on the device: float32, bfloat16 or float16.")
    ] = "float32"
    devices: Annotated[
        int | None, typer.Option(min=1, help="Devices that share the images [all there are].")
    ] = None

    def arguments(self) -> dict[str, Any]:
        """Return the fields of `DataOptions` that these options decide."""
        return {
            "devices": self.devices,
            "window_radius": self.window_radius if self.window else None,
            "normalization": self.norm,
            "lazy": self.lazy,
            "storage": self.storage,
        }

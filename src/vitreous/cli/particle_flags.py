"""Options of every command that reads particles: which ones, where they lie, their sign."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import typer

from vitreous.errors import InputError

Particles = Annotated[Path, typer.Argument(help="Particles: .star, .cs, .txt, .mrcs or .mrc.")]


@dataclass(frozen=True)
class ParticleFlags:
    """Say which particles, and what their file leaves open."""

    panel: ClassVar[str] = "Particles"
    poses: Annotated[
        Path | None, typer.Option(help="poses.pkl, in place of the poses in the particle file.")
    ] = None
    ctf: Annotated[
        Path | None, typer.Option(help="ctf.pkl, in place of the CTF in the particle file.")
    ] = None
    ind: Annotated[
        Path | None, typer.Option(help="Rows to use, counted from 0 (.pkl, .npy, .txt).")
    ] = None
    datadir: Annotated[
        Path | None, typer.Option(help="Folder of the stacks that the file names.")
    ] = None
    pixel_size: Annotated[
        float | None, typer.Option("--Apix", help="Å per pixel, where no file says it.")
    ] = None
    pose_unit: Annotated[
        Literal["fraction", "pixel"],
        typer.Option(help="Unit of the translations in --poses (abinit runs write pixels)."),
    ] = "fraction"

    tomograms: Annotated[
        Path | None,
        typer.Option(help="tomograms.star of RELION 5 particles [found beside them]."),
    ] = None

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of `read_particles`, paths as text."""
        paths = {
            "poses": self.poses,
            "ctf": self.ctf,
            "ind": self.ind,
            "datadir": self.datadir,
            "tomograms": self.tomograms,
        }
        return {
            **{name: None if path is None else str(path) for name, path in paths.items()},
            "pixel_size": self.pixel_size,
            "pose_unit": self.pose_unit,
        }


@dataclass(frozen=True)
class ContrastFlags:
    """Say whether the particles are dark or white, where that is not left to the command."""

    panel: ClassVar[str] = "Particles"
    uninvert_data: Annotated[
        bool, typer.Option("--uninvert-data", help="Particles are darker than the ice.")
    ] = False
    invert_data: Annotated[
        bool, typer.Option("--invert-data", help="Particles are brighter than the ice.")
    ] = False

    def contrast(self) -> Literal["auto", "white", "dark"]:
        """Return what the particles are.

        **Raises:** `InputError` if both are said.
        """
        if self.uninvert_data and self.invert_data:
            raise InputError(
                "--uninvert-data and --invert-data: the particles are dark or white; keep one"
            )
        return "dark" if self.uninvert_data else "white" if self.invert_data else "auto"

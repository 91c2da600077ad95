"""Options of `train-subspace`, grouped by what they speak of."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer


@dataclass(frozen=True)
class ComponentFlags:
    """What is fitted, and from how much of the images."""

    panel: ClassVar[str] = "Components"
    zdim: Annotated[
        int | None, typer.Option("--zdim", help="Components [as many as half sets share].")
    ] = None
    keep_all: Annotated[
        bool, typer.Option("--keep-all", help="Keep components half sets do not share.")
    ] = False
    max_shell: Annotated[int | None, typer.Option(help="Outermost Fourier shell [14].")] = None
    contrast: Annotated[bool, typer.Option(help="Let the contrast of images vary.")] = False
    focus_mask: Annotated[
        Path | None, typer.Option(help="Map that is 1 where components may be.")
    ] = None
    particle_diameter: Annotated[float | None, typer.Option(help="Å [measured].")] = None
    refine_poses: Annotated[bool, typer.Option(help="Correct small pose errors.")] = False

    def settings(self) -> dict[str, Any]:
        """Return fields of `SubspaceConfig`."""
        mask = None if self.focus_mask is None else str(self.focus_mask)
        return {**vars(self), "focus_mask": mask}


@dataclass(frozen=True)
class IterationFlags:
    """How long, and how many images at a time."""

    panel: ClassVar[str] = "Iterations"
    iterations: Annotated[int, typer.Option("-n", help="EM iterations a stage.")] = 2
    online: Annotated[bool, typer.Option(help="Learn from blocks of images first.")] = False
    block: Annotated[int, typer.Option(help="Images a block.")] = 10000

    def settings(self) -> dict[str, Any]:
        """Return fields of `SubspaceConfig`."""
        return dict(vars(self))


@dataclass(frozen=True)
class SeriesFlags:
    """What of a tilt series is used; such tables are recognised by themselves."""

    panel: ClassVar[str] = "Tilt series"
    ntilts: Annotated[
        int | None, typer.Option(min=1, help="Tilts a particle, first exposed first [all].")
    ] = None
    dose_per_tilt: Annotated[
        float | None, typer.Option(min=0, help="e/Å² of each tilt [from the file].")
    ] = None
    angle_per_tilt: Annotated[
        float, typer.Option(help="Tilt step in degrees, where the file has no scale factors.")
    ] = 3.0

    def settings(self) -> dict[str, Any]:
        """Return fields of `SubspaceConfig`."""
        return {"dose_per_tilt": self.dose_per_tilt, "angle_per_tilt": self.angle_per_tilt}

"""Options of `abinit`, grouped by what they speak of."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import typer

Strategy = Literal["auto", "amortized", "search"]


@dataclass(frozen=True)
class ModelFlags:
    """What is looked for."""

    panel: ClassVar[str] = "Model"
    strategy: Annotated[
        Strategy,
        typer.Option(help="search, an encoder (amortized), or one after the other (auto)."),
    ] = "auto"
    zdim: Annotated[int, typer.Option("--zdim", help="Dimension of the latent; 0 for one map.")] = 0
    sym: Annotated[str, typer.Option("--sym", help="Point group: C1, C4, D2 …")] = "C1"
    particle_diameter: Annotated[
        float | None, typer.Option(help="Å; density beyond is 0 [measured].")
    ] = None
    max_shift: Annotated[
        float | None, typer.Option(help="Å that particles may lie off their centres [box/10].")
    ] = None
    no_trans: Annotated[bool, typer.Option("--no-trans", help="Particles are centred.")] = False
    max_shell: Annotated[int | None, typer.Option(help="Outermost Fourier shell used [all].")] = (
        None
    )
    restarts: Annotated[int, typer.Option(help="Random starts to choose from.")] = 3
    passes: Annotated[int, typer.Option(help="Passes over all images at most.")] = 8
    batch_size: Annotated[
        int, typer.Option("-b", "--batch-size", help="Images scored at a time.")
    ] = 64
    initial_map: Annotated[
        Path | None, typer.Option(help="Map (.mrc) to begin with, instead of random starts.")
    ] = None
    keep_map: Annotated[
        bool, typer.Option("--keep-map", help="Find poses for that map; leave it as it is.")
    ] = False
    search_images: Annotated[
        int, typer.Option(help="With auto: most images searched; beyond, an encoder learns first.")
    ] = 20000
    ntilts: Annotated[
        int | None,
        typer.Option("--ntilts", min=1, help="Of tilt series: 1, the first image of each."),
    ] = None


def chosen(**values: Any) -> dict[str, Any]:
    """Keep what was given."""
    return {name: value for name, value in values.items() if value is not None}

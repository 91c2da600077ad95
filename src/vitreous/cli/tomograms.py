"""`parse-relion`: RELION 5's particles of tomograms as a table of tilt images."""

from pathlib import Path
from typing import Annotated

import typer

from vitreous.errors import InputError


def parse_relion(
    particles: Annotated[
        Path,
        typer.Option("-p", "--particles", help="particles.star of 2-D stacks, or its set."),
    ],
    tomograms: Annotated[
        Path | None,
        typer.Option("-t", "--tomograms", help="tomograms.star [found beside the particles]."),
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="What to write (.star).")] = Path(
        "particles_2d.star"
    ),
    datadir: Annotated[Path | None, typer.Option(help="Folder of the stacks.")] = None,
    ind: Annotated[
        Path | None, typer.Option(help="Particles to keep, counted from 0 (.pkl, .npy, .txt).")
    ] = None,
    ntilts: Annotated[
        int | None, typer.Option(min=1, help="Tilts a particle, first exposed first [all].")
    ] = None,
    tilt_dim: Annotated[tuple[int, int] | None, typer.Option("--tilt-dim", hidden=True)] = None,
) -> None:
    """Write the tilt images of RELION 5 particles one a row: pose, CTF and dose of each.

    For programs that know no tomograms; every command here reads RELION's files as they are.

    Example: `vitreous parse-relion -p Extract/job012/particles.star -o particles_2d.star`
    """
    # The size of the tilt images says where a particle lay in them, which nothing here asks for.
    del tilt_dim
    from vitreous.particles import read_particles
    from vitreous.particles.relion_tomo import is_tomo_table
    from vitreous.particles.star import StarFile

    table = read_particles(
        particles,
        tomograms=tomograms,
        datadir=datadir,
        ind=ind,
        ind_of="particles",
        tilts=ntilts,
    )
    if not (isinstance(table.source, StarFile) and is_tomo_table(table.source)):
        raise InputError(f"{particles}: its rows are images already, not particles of tomograms")
    if table.rotation is None:
        raise InputError(f"{particles}: its tomograms were not found; give them with --tomograms")
    table.to_star(output, per_image=True)
    count = len(set(table.particle.tolist())) if table.particle is not None else 0
    typer.echo(f"{output}: {len(table):,} images of {count:,} particles")

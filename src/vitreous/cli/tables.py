"""Commands on particle tables: rows of them, several as one, one kind as another."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from vitreous.cli.grouped import grouped
from vitreous.errors import InputError

Ind = Annotated[Path, typer.Option("--ind", help="Rows to keep, from 0 (.pkl, .npy, .txt).")]


def filter_star(
    input: Annotated[Path, typer.Argument(help="RELION table (.star).")],
    ind: Ind,
    output: Annotated[
        Path | None, typer.Option("-o", help="Output .star, or a folder with -m.")
    ] = None,
    et: Annotated[
        bool, typer.Option("--et", help="Rows are particles of tilt series: keep their images.")
    ] = False,
    micrograph_files: Annotated[
        bool, typer.Option("-m", "--micrograph-files", help="One .star a micrograph.")
    ] = False,
) -> None:
    """Keep some rows of a RELION `.star`, with every block, column and digit as it is.

    No image is looked for. Stack names stay, unless they would lead nowhere from the new place.

    Example: `vitreous filter-star particles.star --ind ind.pkl -o filtered.star`
    """
    from vitreous.particles import filtering
    from vitreous.particles.star import read_star

    count = len(read_star(input).main)
    rows = filtering.rows_of_index(ind, count, input)
    if et:
        rows = filtering.images_of_particles(input, rows)
    if micrograph_files:
        folder = output or Path(f"{input.stem}_micrographs")
        files = filtering.split_by_micrograph(input, rows, folder)
        typer.echo(f"{folder}: {len(files):,} files, {len(rows):,} of {count:,} rows")
        return
    output = output or input.with_name(f"{input.stem}_filtered.star")
    filtering.filter_star(input, rows, output)
    typer.echo(f"{output}: {len(rows):,} of {count:,} rows")


def filter_cs(
    particles: Annotated[Path, typer.Argument(help="cryoSPARC table (.cs), passthrough too.")],
    output: Annotated[Path, typer.Option("-o", help="Output (.cs).")],
    ind: Annotated[
        Path | None, typer.Option("--ind", help="Rows to keep, from 0 (.pkl, .npy, .txt).")
    ] = None,
    uids: Annotated[
        Path | None,
        typer.Option(help="Keep the particles (uid) of this .cs: a passthrough follows it."),
    ] = None,
) -> None:
    """Keep some rows of a cryoSPARC `.cs`, with `uid` and every field as they are.

    Example: `vitreous filter-cs cryosparc_P27_J3_005_particles.cs --ind ind.pkl -o filtered.cs`
    """
    from vitreous.particles import filtering
    from vitreous.particles.cryosparc import load_cs

    if (ind is None) == (uids is None):
        raise InputError("say which rows: --ind or --uids, one of them")
    count = len(load_cs(particles))
    if ind is not None:
        rows = filtering.rows_of_index(ind, count, particles)
    else:
        assert uids is not None
        rows = filtering.rows_with_uids(particles, uids)
    filtering.filter_cs(particles, rows, output)
    typer.echo(f"{output}: {len(rows):,} of {count:,} rows")


@dataclass(frozen=True)
class WindowFlags:
    """Options of the peer's selection window; the page has what they were for."""

    epoch: Annotated[str, typer.Option("-e", "--epoch", hidden=True)] = "last"
    kmeans: Annotated[int | None, typer.Option("-k", "--kmeans", hidden=True)] = None
    force: Annotated[bool, typer.Option("-f", "--force", hidden=True)] = False
    plot_inds: Annotated[Path | None, typer.Option("--plot-inds", hidden=True)] = None
    sel_dir: Annotated[Path | None, typer.Option("--sel-dir", hidden=True)] = None


@grouped
def filter_any(
    input: Annotated[
        Path, typer.Argument(help="A .star, .cs, stack (.mrcs, .txt) or pickle; or a run.")
    ],
    window: WindowFlags,
    output: Annotated[Path | None, typer.Option("-o", help="Output, of the same kind.")] = None,
    ind: Annotated[
        Path | None, typer.Option("--ind", help="Rows to keep, from 0 (.pkl, .npy, .txt).")
    ] = None,
    first: Annotated[int | None, typer.Option("--first", help="Keep the first so many.")] = None,
) -> None:
    """Keep some rows of any file with a row a particle: table, stack, poses, CTF, latents, indices.

    Of a run it opens the page where particles are drawn around, combined and saved (`dashboard`);
    `select` does the same in words.

    Example: `vitreous filter ctf.pkl --ind ind.pkl -o ctf.filtered.pkl`
    """
    import numpy as np

    from vitreous.particles import filtering, read_particles
    from vitreous.particles.concatenating import rows_of_pickle
    from vitreous.particles.peer_pickles import read_index

    if input.is_dir():
        _choose_in_browser(input, window)
        return
    if output is None:
        raise InputError(f"{input}: say where to write the rows: -o")
    if (ind is None) == (first is None):
        raise InputError("say which rows: --ind or --first, one of them")
    if first is not None and first < 1:
        raise InputError(f"--first {first}: must be at least 1")
    kind = input.suffix.lower()
    if kind in (".star", ".cs") and ind is not None:
        filter_star(input, ind, output) if kind == ".star" else filter_cs(input, output, ind)
        return
    rows = np.arange(first or 0) if ind is None else read_index(ind)
    if kind == ".star":
        filtering.filter_star(input, rows, output)
    elif kind == ".cs":
        filtering.filter_cs(input, rows, output)
    elif kind in (".mrcs", ".mrc", ".txt"):
        from vitreous.particles.stack_edits import edit_stack

        table = read_particles(input, ind=rows)
        edit_stack(table, output, lambda images, _: images)
    else:
        rows_of_pickle(input, rows, output)
    typer.echo(f"{output}: {len(rows):,} rows")


def _choose_in_browser(run: Path, window: WindowFlags) -> None:
    from vitreous.cli.analysis_flags import read_epoch
    from vitreous.cli.dashboard import dashboard

    if window.sel_dir is not None:
        raise InputError(f"--sel-dir: selections are kept in {run / 'selections'}")
    dashboard(run, epoch=read_epoch(window.epoch), kmeans=window.kmeans)


def concat(
    input: Annotated[list[Path], typer.Argument(help="Files of one kind, two or more.")],
    output: Annotated[Path, typer.Option("-o", help="Output: .star, .cs, .csv or .pkl.")],
    datadir: Annotated[Path | None, typer.Option(help="Folder of the stacks.")] = None,
) -> None:
    """Put particle tables, or pickles of poses, CTF, latents or indices, end to end.

    Optics groups and particles of later tables are renumbered; columns only one of them has are
    filled up.

    Example: `vitreous concat first.star second.star -o both.star`
    """
    from vitreous.particles.concatenating import concatenate_pickles, concatenate_tables

    if len(input) < 2:
        raise InputError("give two files or more")
    if output.suffix.lower() in (".star", ".cs", ".csv"):
        count = concatenate_tables(input, output, datadir)
    else:
        count = concatenate_pickles(input, output)
    typer.echo(f"{output}: {count:,} rows of {len(input)} files")


def convert(
    particles: Annotated[Path, typer.Argument(help="Particles: .star, .cs, .txt, .mrcs or .mrc.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Output: .star, .cs or .csv.")],
    poses: Annotated[Path | None, typer.Option(help="poses.pkl, in place of the file's.")] = None,
    ctf: Annotated[Path | None, typer.Option(help="ctf.pkl, in place of the file's.")] = None,
    ind: Annotated[
        Path | None, typer.Option(help="Rows to keep, from 0 (.pkl, .npy, .txt).")
    ] = None,
    datadir: Annotated[Path | None, typer.Option(help="Folder of the stacks.")] = None,
    pixel_size: Annotated[
        float | None, typer.Option("--Apix", help="Å per pixel, where no file says it.")
    ] = None,
    pose_unit: Annotated[
        Literal["fraction", "pixel"],
        typer.Option(help="Unit of the translations in --poses (abinit runs write pixels)."),
    ] = "fraction",
    passthrough: Annotated[
        list[Path] | None, typer.Option(help="Passthrough .cs to join [found beside it].")
    ] = None,
    full_path: Annotated[
        bool, typer.Option("--full-path", help="Name stacks by their absolute paths.")
    ] = False,
    relion30: Annotated[
        bool, typer.Option("--relion30", help="RELION 3.0 layout: no optics, origins in pixels.")
    ] = False,
    relion31: Annotated[
        bool, typer.Option("--relion31", help="RELION 3.1 layout, one row an image.")
    ] = False,
) -> None:
    """Write particles in another program's format, or with other poses and CTF.

    Within one format every column stays. Between formats images, sampling, poses, CTF, half sets,
    particles and doses go over, in the signs and units of the other program.

    Example: `vitreous convert cryosparc_P27_J3_005_particles.cs -o particles.star`
    """
    from vitreous.particles import read_particles
    from vitreous.particles.conversion import write_table

    if relion30 and relion31:
        raise InputError("--relion30 and --relion31: keep one")
    if output.suffix.lower() not in (".star", ".cs", ".csv"):
        raise InputError(f"{output}: particle tables are written as .star, .cs or .csv")
    table = read_particles(
        particles,
        datadir=datadir,
        poses=poses,
        ctf=ctf,
        ind=ind,
        pixel_size=pixel_size,
        pose_unit=pose_unit,
        passthrough=passthrough,
    )
    write_table(table, output, "3.0" if relion30 else "3.1" if relion31 else "parent", full_path)
    typer.echo(f"{output}: {len(table):,} images")

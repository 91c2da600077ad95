"""Commands on maps and image stacks: header, hand, contrast, CTF phases, shifts, pictures."""

from pathlib import Path
from typing import Annotated

import typer

from vitreous.cli.common import start_jax
from vitreous.cli.progress import image_bar
from vitreous.errors import InputError

Input = Annotated[Path, typer.Argument(help="Map or stack (.mrc, .mrcs).")]
DataDir = Annotated[Path | None, typer.Option(help="Folder of the stacks that a table names.")]


def _beside(input: Path, word: str, output: Path | None) -> Path:
    made = output or input.with_name(f"{input.stem}_{word}{input.suffix}")
    if made.exists() and made.resolve() == input.resolve():
        raise InputError(f"{made}: is the input; choose another output")
    return made


def add_psize(
    input: Input,
    pixel_size: Annotated[float, typer.Option("--Apix", help="Å per pixel.")] = 1.0,
    output: Annotated[
        Path | None, typer.Option("-o", help="Output [NAME_psize beside the input].")
    ] = None,
) -> None:
    """Write a pixel size into the header of a map or stack; pixels stay to the byte.

    Example: `vitreous add-psize map.mrc --Apix 1.31 -o map.psize.mrc`
    """
    from vitreous.particles.stack_edits import set_pixel_size

    made = _beside(input, "psize", output)
    set_pixel_size(input, made, pixel_size)
    typer.echo(f"{made}: {pixel_size:g} Å per pixel")


def flip_hand(
    input: Annotated[Path, typer.Argument(help="Map (.mrc).")],
    output: Annotated[
        Path | None, typer.Option("-o", help="Output [NAME_flipped beside the input].")
    ] = None,
) -> None:
    """Mirror a map along z about the centre of its box: the other hand.

    Example: `vitreous flip-hand map.mrc -o map.flipped.mrc`
    """
    from vitreous.geometry.hand import mirror
    from vitreous.particles import read_map, write_map

    made = _beside(input, "flipped", output)
    source = read_map(input)
    write_map(made, mirror(source.data), source.voxel_size, source.origin)
    typer.echo(f"{made}")


def invert_contrast(
    input: Input,
    output: Annotated[
        Path | None, typer.Option("-o", help="Output [NAME_inverted beside the input].")
    ] = None,
) -> None:
    """Negate a map or a stack: white becomes dark.

    Example: `vitreous invert-contrast particles.mrcs -o particles.inverted.mrcs`
    """
    from vitreous.mrc import read_header
    from vitreous.particles import read_map, read_particles, write_map
    from vitreous.particles.stack_edits import edit_stack, negated

    made = _beside(input, "inverted", output)
    sides = set(read_header(input).shape)
    if len(sides) == 1 and input.suffix != ".mrcs":
        source = read_map(input)
        write_map(made, -source.data, source.voxel_size, source.origin)
    else:
        table = read_particles(input)
        with image_bar("Inverting", len(table)) as advance:
            edit_stack(table, made, negated, advance)
    typer.echo(f"{made}")


def phase_flip(
    mrcs: Annotated[Path, typer.Argument(help="Particles: .mrcs, .txt, .star or .cs.")],
    ctf_params: Annotated[
        Path | None, typer.Argument(help="ctf.pkl; a .star or .cs has its own.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", help="Output (.mrcs) [NAME_flipped.mrcs].")
    ] = None,
    datadir: DataDir = None,
    pixel_size: Annotated[
        float | None, typer.Option("--Apix", help="Å per pixel, where no file says it.")
    ] = None,
) -> None:
    """Multiply images by the sign of their CTF; white particles stay white.

    Example: `vitreous phase-flip particles.star -o flipped.mrcs`
    """
    start_jax()
    from vitreous.particles import read_particles
    from vitreous.particles.stack_edits import edit_stack
    from vitreous.particles.stack_edits import phase_flip as flip

    made = output or mrcs.with_name(f"{mrcs.stem}_flipped.mrcs")
    table = read_particles(mrcs, ctf=ctf_params, datadir=datadir, pixel_size=pixel_size)
    edit = flip(table)
    with image_bar("Flipping", len(table)) as advance:
        edit_stack(table, made, edit, advance)
    typer.echo(f"{made}: {len(table):,} images")


def translate(
    mrcs: Annotated[Path, typer.Argument(help="Particles: .mrcs, .txt, .star or .cs.")],
    trans: Annotated[
        Path, typer.Argument(help="Shifts (x, y) of each image, in pixels (.pkl, .npy, text).")
    ],
    output: Annotated[Path, typer.Option("-o", help="Output (.mrcs).")],
    tscale: Annotated[
        float, typer.Option("--tscale", help="Multiply the shifts by this: the box for fractions.")
    ] = 1.0,
    datadir: DataDir = None,
    out_png: Annotated[Path | None, typer.Option(help="Draw the first images (.png).")] = None,
) -> None:
    """Shift images by `(x, y)` pixels, to larger columns and rows, without interpolation.

    Of a `poses.pkl` the translations are taken: fractions of the box, hence `--tscale` with the
    box; they centre the particles.

    Example: `vitreous translate particles.mrcs poses.pkl --tscale 128 -o centred.mrcs`
    """
    start_jax()
    from vitreous.particles import ImageSource, read_particles
    from vitreous.particles.shifts import read_shifts
    from vitreous.particles.stack_edits import edit_stack, translation

    table = read_particles(mrcs, datadir=datadir)
    shifts = read_shifts(trans, len(table), tscale)
    with image_bar("Shifting", len(table)) as advance:
        edit_stack(table, output, translation(shifts), advance)
    typer.echo(f"{output}: {len(table):,} images, shifted by up to {abs(shifts).max():.4g} pixels")
    if out_png is not None:
        from vitreous.analysis.file_pictures import draw_montage

        made = read_particles(output)
        draw_montage(out_png, ImageSource(made), made)
        typer.echo(f"{out_png}")


def view(
    input: Annotated[
        Path, typer.Argument(help="Map, stack, .star, .cs, .txt; arrays (.npy, .npz, .pkl).")
    ],
    output: Annotated[
        Path | None, typer.Option("-o", help="Draw: images of a stack, or a volume (.png).")
    ] = None,
    ind: Annotated[
        list[int] | None, typer.Option("--ind", help="Images to draw, from 0 [25 of them].")
    ] = None,
    invert: Annotated[bool, typer.Option("--invert", help="Draw with inverted contrast.")] = False,
    datadir: DataDir = None,
) -> None:
    """Say what a file holds: header, columns, ranges; with `-o` draw images or the volume.

    Example: `vitreous view particles.star -o images.png`
    """
    from vitreous.analysis.file_summary import summarise

    kind = input.suffix.lower()
    for name, value in summarise(input):
        typer.echo(f"{name:28s} {value}")
    if output is None:
        return
    start_jax()
    from vitreous.analysis.file_pictures import draw_montage, draw_volume
    from vitreous.mrc import read_header
    from vitreous.particles import ImageSource, read_map, read_particles

    if kind in (".mrc", ".map") and len(set(read_header(input).shape)) == 1:
        has_size = min(read_header(input).voxel_size) > 0
        volume = read_map(input, None if has_size else 1.0)
        draw_volume(output, -volume.data if invert else volume.data)
    elif kind in (".mrc", ".mrcs", ".txt", ".star", ".cs"):
        # Pictures need no pixel size.
        size = 1.0
        table = read_particles(input, datadir=datadir, pixel_size=size)
        draw_montage(output, ImageSource(table), table, ind, invert)
    else:
        raise InputError(f"{input}: has no pictures to draw")
    typer.echo(f"{output}")

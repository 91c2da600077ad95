"""`downsample`: particle stacks and volumes in a smaller box."""

from pathlib import Path
from typing import Annotated

import typer

from vitreous.cli.common import start_jax
from vitreous.cli.progress import image_bar


def downsample(
    input: Annotated[
        Path, typer.Argument(help="Particles (.mrcs, .star, .cs, .txt) or a volume (.mrc).")
    ],
    box: Annotated[int, typer.Option("-D", help="New box size in pixels, even or odd.")],
    outfile: Annotated[
        Path, typer.Option("-o", "--outfile", help="Output: .mrcs, .star, .txt; .mrc for a volume.")
    ],
    is_vol: Annotated[bool, typer.Option("--is-vol", help="The input is a volume.")] = False,
    chunk: Annotated[
        int | None, typer.Option(help="Split the output into stacks of at most so many images.")
    ] = None,
    datadir: Annotated[
        Path | None, typer.Option(help="Folder of the stacks that a .star or .cs names.")
    ] = None,
    ind: Annotated[
        Path | None, typer.Option(help="Rows to keep, counted from 0 (.pkl, .npy, .txt).")
    ] = None,
    outdir: Annotated[
        Path | None,
        typer.Option(help="Keep one stack for each input stack, in the same tree below here."),
    ] = None,
    batch: Annotated[int, typer.Option("-b", "--batch", help="Images read at a time.")] = 5000,
    max_threads: Annotated[int, typer.Option(help="Threads that read ahead.")] = 16,
    pixel_size: Annotated[
        float | None, typer.Option("--Apix", help="Å/pixel of the input, where no file says it.")
    ] = None,
) -> None:
    """Fourier-crop a particle stack or a volume to a smaller box.

    The extent in Å, the centre and the mean intensity stay; the pixel size is written into every
    output. A `.star` output is the input table with image names, pixel size and box size (and
    origins, where they are in pixels) brought up to date. Images are streamed, so memory stays
    small.

    Example: `vitreous downsample particles.star -D 128 -o particles.128.star`
    """
    start_jax()
    from vitreous.particles import read_map, read_particles, write_map
    from vitreous.particles.downsample import downsample_map, downsample_particles

    if is_vol:
        volume = downsample_map(read_map(input, pixel_size), box)
        write_map(outfile, volume.data, volume.voxel_size, volume.origin)
        typer.echo(f"{outfile}: {box}³ voxels of {volume.voxel_size:.6g} Å")
        return
    table = read_particles(input, datadir=datadir, ind=ind, pixel_size=pixel_size)
    with image_bar("Downsampling", len(table)) as advance:
        smaller = downsample_particles(
            table,
            box,
            outfile,
            chunk=chunk,
            stack_folder=outdir,
            batch=batch,
            threads=max_threads,
            progress=advance,
        )
    sizes = " and ".join(f"{size:.6g}" for size in sorted(set(smaller.pixel_size.tolist())))
    is_split = chunk is not None and outfile.suffix != ".star"
    written = outfile.with_suffix(".txt") if is_split else outfile
    typer.echo(f"{written}: {len(smaller)} images, {box}×{box} pixels of {sizes} Å")

"""The command that makes whole micrographs."""

import time
from pathlib import Path
from typing import Annotated

import typer

from vitreous.cli.common import start_jax
from vitreous.cli.grouped import grouped
from vitreous.cli.progress import image_bar
from vitreous.cli.specimen_flags import Counting, Inputs, OpticsFlags, SpecimenFlags
from vitreous.errors import InputError


@grouped
def simulate_micrograph(
    outdir: Annotated[Path, typer.Option("-o", "--outdir", help="Folder to write.")],
    molecule: SpecimenFlags,
    microscope: OpticsFlags,
    inputs: Inputs = None,
    size: Annotated[tuple[int, int], typer.Option(help="Width and height in pixels.")] = (
        1024,
        1024,
    ),
    particles: Annotated[int, typer.Option("-n", "--particles", help="In each micrograph.")] = 50,
    micrographs: Annotated[int, typer.Option(help="How many.")] = 1,
    min_distance: Annotated[
        float, typer.Option(help="Between particles, Å; 0 lets them overlap.")
    ] = 0.0,
    border: Annotated[
        float | None, typer.Option(help="Å to the edge that stay empty; default half the box.")
    ] = None,
    ice: Annotated[float, typer.Option(help="Thickness of the ice, Å.")] = 300.0,
    depth: Annotated[
        float | None,
        typer.Option(help="Range of the particles' heights, Å; default the ice's thickness."),
    ] = None,
    dose: Annotated[
        float | None, typer.Option(help="Electrons/Å²; default 40 where no --snr is given.")
    ] = None,
    counting: Annotated[
        Counting, typer.Option(help="Counts one by one, or their Gaussian approximation.")
    ] = Counting.poisson,
    snr: Annotated[
        float | None,
        typer.Option(help="Ratio of variances in particles' boxes, in place of --dose."),
    ] = None,
    noise: Annotated[bool, typer.Option("--noise/--no-noise", help="Count electrons.")] = True,
    has_ctf: Annotated[bool, typer.Option("--ctf/--no-ctf", help="Apply a CTF.")] = True,
    seed: Annotated[int, typer.Option(help="The same seed gives the same micrographs.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a session.")] = False,
) -> None:
    """Make micrographs: particles at their heights in ice, behind one lens, counted electrons.

    Writes micrographs/, micrographs.star, coordinates/ and particles.star (RELION layouts, with
    poses and each particle's own defocus), truth.npz and volumes/. Particles are dark.

    Example: `vitreous simulate-micrograph --phantom hinge --size 1440 1024 -n 40 -o session`
    """
    if not noise and (dose is not None or snr is not None):
        raise InputError("--no-noise leaves out --dose and --snr")
    if noise and dose is None and snr is None:
        dose = 40.0
    start_jax()
    from vitreous.simulation import MicrographOptions, simulate_micrographs

    options = MicrographOptions(
        size=size,
        particles=particles,
        count=micrographs,
        min_distance=min_distance,
        border=border,
        ice=ice,
        depth=depth,
        dose=dose,
        counting=counting.value,
        snr=snr,
        optics=microscope.optics() if has_ctf else None,
        seed=seed,
    )
    options.check()
    specimen = molecule.build(inputs)
    began = time.perf_counter()
    with image_bar("simulate", micrographs, "micrographs") as progress:
        simulate_micrographs(specimen, outdir, options, overwrite=overwrite, progress=progress)
    made = "1 micrograph" if micrographs == 1 else f"{micrographs:,} micrographs"
    typer.echo(
        f"{made} of {size[0]}×{size[1]}, {specimen.pixel_size:g} Å/px, with "
        f"{particles} particles each, in {time.perf_counter() - began:.1f} s: "
        f"{outdir / 'micrographs.star'}"
    )

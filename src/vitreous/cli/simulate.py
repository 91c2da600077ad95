"""The command that makes particle sets."""

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from vitreous.cli.common import start_jax
from vitreous.cli.progress import image_bar
from vitreous.errors import InputError


class Phantom(StrEnum):
    """Molecules that are made up."""

    hinge = "hinge"


class SNR(StrEnum):
    """Pixels over which the signal's variance is taken."""

    box = "box"
    mask = "mask"


class Contrast(StrEnum):
    """Sign of the particles."""

    white = "white"
    dark = "dark"


class Kernel(StrEnum):
    """Interpolation between the points of a map's transform."""

    linear = "linear"
    cubic = "cubic"


def simulate(
    outdir: Annotated[Path, typer.Option("-o", "--outdir", help="Folder to write.")],
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(help="Structures (.pdb, .cif) or maps (.mrc), one a state."),
    ] = None,
    phantom: Annotated[
        Phantom | None, typer.Option(help="A made-up molecule in place of files.")
    ] = None,
    count: Annotated[int, typer.Option("-n", "--count", help="Particles.")] = 2000,
    box: Annotated[
        int | None,
        typer.Option("-D", "--box", help="Box in pixels; phantom: 64; a map: its own."),
    ] = None,
    apix: Annotated[
        float | None,
        typer.Option("--apix", "--Apix", help="Å per pixel; phantom: 3.2; a map: its own."),
    ] = None,
    snr: Annotated[float, typer.Option(help="Signal to noise, ratio of variances.")] = 0.1,
    snr_definition: Annotated[
        SNR, typer.Option(help="Signal's variance over the whole box (CryoBench) or in a mask.")
    ] = SNR.box,
    mask_radius: Annotated[
        float | None, typer.Option(help="Radius of that mask in Å; default half the box.")
    ] = None,
    noise: Annotated[bool, typer.Option("--noise/--no-noise", help="Add noise.")] = True,
    shift: Annotated[float, typer.Option(help="Largest shift along an axis, Å.")] = 0.0,
    has_ctf: Annotated[bool, typer.Option("--ctf/--no-ctf", help="Apply a CTF.")] = True,
    defocus: Annotated[
        tuple[float, float], typer.Option(help="Lowest and highest defocus, Å (under: +).")
    ] = (8000.0, 22000.0),
    astigmatism: Annotated[float, typer.Option(help="Largest |U − V|, Å.")] = 400.0,
    kv: Annotated[float, typer.Option(help="Voltage, kV.")] = 300.0,
    cs: Annotated[float, typer.Option(help="Spherical aberration, mm.")] = 2.7,
    w: Annotated[float, typer.Option("-w", help="Amplitude contrast, 0 to 1.")] = 0.1,
    phase_shift: Annotated[float, typer.Option(help="Of a phase plate, degrees.")] = 0.0,
    bfactor: Annotated[float, typer.Option(help="Envelope exp(−B k²/4), Å².")] = 0.0,
    contrast: Annotated[
        Contrast, typer.Option(help="White particles (RELION) or dark ones.")
    ] = Contrast.white,
    poses: Annotated[
        Path | None,
        typer.Option(help="Particles (.star, .cs) whose poses, shifts and CTFs to take."),
    ] = None,
    angles: Annotated[tuple[float, float], typer.Option(help="Range of the hinge, degrees.")] = (
        0.0,
        60.0,
    ),
    states: Annotated[int, typer.Option(help="Parts of the hinge's range with a true map.")] = 12,
    selection: Annotated[
        str | None, typer.Option(help="Which atoms, in Gemmi's language: A/10-20.")
    ] = None,
    atom_bfactor: Annotated[
        float, typer.Option(help="B factor added to every atom's own, Å².")
    ] = 0.0,
    kernel: Annotated[Kernel, typer.Option(help="Interpolation of slices.")] = Kernel.cubic,
    batch_size: Annotated[int, typer.Option("-b", "--batch-size", help="Images at a time.")] = 64,
    seed: Annotated[int, typer.Option(help="The same seed gives the same set.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a set.")] = False,
) -> None:
    """Make particle images from atoms, maps or a made-up molecule.

    Writes a RELION 3.1 set, particles.star and particles.mrcs, and the truth: truth.npz and
    volumes/. Poses are uniform, states equally frequent.

    Example: `vitreous simulate --phantom hinge -n 2000 --snr 0.1 --shift 8 -o hinge`
    """
    if (phantom is None) == (not inputs):
        raise InputError("give structures, maps, or --phantom hinge: one of them")
    start_jax()
    from vitreous.particles import read_particles
    from vitreous.simulation import (
        HingeMotion,
        MapStates,
        Optics,
        ParticleOptions,
        hinge_phantom,
        simulate_particles,
        state_maps,
    )
    from vitreous.simulation.specimen import Specimen

    given = None if poses is None else read_particles(poses)
    if given is not None and given.rotation is None:
        raise InputError(f"{poses}: holds no poses (_rlnAngleRot, alignments3D/pose)")
    optics = Optics(kv, cs, w, phase_shift, bfactor, defocus, astigmatism)
    options = ParticleOptions(
        count if given is None else len(given),
        snr if noise else None,
        snr_definition.value,
        mask_radius,
        shift,
        optics if has_ctf else None,
        contrast.value,
        seed,
        batch_size,
    )
    specimen: Specimen
    if inputs:
        maps, voxel_size = state_maps(inputs, box, apix, selection, atom_bfactor)
        specimen = MapStates.of(maps, voxel_size, kernel.value)
    else:
        specimen = HingeMotion(hinge_phantom(), box or 64, apix or 3.2, *angles, states)
    start = time.perf_counter()
    with image_bar("simulate", options.count) as progress:
        simulate_particles(
            specimen,
            outdir,
            options,
            rotations=None if given is None else given.rotation,
            shifts=None if given is None else given.shift,
            ctf=given.ctf if given is not None and has_ctf else None,
            overwrite=overwrite,
            progress=progress,
        )
    seconds = time.perf_counter() - start
    typer.echo(
        f"{options.count:,} particles of {specimen.box}², {specimen.pixel_size:g} Å/px, in "
        f"{seconds:.1f} s ({options.count / seconds:,.0f} images/s): {outdir / 'particles.star'}"
    )

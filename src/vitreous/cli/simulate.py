"""The command that makes particle sets."""

import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import typer

from vitreous.cli.common import start_jax
from vitreous.cli.grouped import grouped
from vitreous.cli.progress import image_bar
from vitreous.cli.specimen_flags import Contrast, Counting, Inputs, OpticsFlags, SpecimenFlags
from vitreous.errors import InputError


class SNR(StrEnum):
    """Pixels over which the signal's variance is taken; the short names are the older ones."""

    whole_box = "whole-box"
    in_mask = "in-mask"
    box = "box"
    mask = "mask"

    @property
    def region(self) -> Literal["box", "mask"]:
        """The definition's name in Python."""
        return "box" if self in (SNR.whole_box, SNR.box) else "mask"


@dataclass(frozen=True)
class NoiseFlags:
    """Say how noisy images are."""

    panel: ClassVar[str] = "Noise"
    snr: Annotated[
        float | None, typer.Option(help="Signal to noise, ratio of variances; default 0.1.")
    ] = None
    snr_definition: Annotated[
        SNR,
        typer.Option(help="Signal's variance over the whole box (CryoBench) or in a mask."),
    ] = SNR.whole_box
    mask_radius: Annotated[
        float | None, typer.Option(help="Radius of that mask in Å; default half the box.")
    ] = None
    dose: Annotated[
        float | None, typer.Option(help="Electrons/Å² to count, in place of --snr.")
    ] = None
    counting: Annotated[
        Counting, typer.Option(help="Counts one by one, or their Gaussian approximation.")
    ] = Counting.poisson
    ice: Annotated[float, typer.Option(help="Thickness of ice around the particles, Å.")] = 0.0
    noise: Annotated[bool, typer.Option("--noise/--no-noise", help="Add noise.")] = True

    def ratio(self) -> float | None:
        """Return the signal-to-noise ratio, None where there is none.

        **Raises:** `InputError` if a dose is given too.
        """
        if self.dose is not None and (self.snr is not None or not self.noise):
            raise InputError("--dose says how noisy images are; leave out --snr and --no-noise")
        if self.dose is not None or not self.noise:
            return None
        return 0.1 if self.snr is None else self.snr


@dataclass(frozen=True)
class ParticleFlags:
    """Say how many images there are, and how their particles lie."""

    panel: ClassVar[str] = "Particles"
    count: Annotated[
        int | None,
        typer.Option("-n", "--count", help="Particles; default 2000, or as many as --poses has."),
    ] = None
    shift: Annotated[float, typer.Option(help="Largest shift along an axis, Å.")] = 0.0
    has_ctf: Annotated[bool, typer.Option("--ctf/--no-ctf", help="Apply a CTF.")] = True
    contrast: Annotated[Contrast, typer.Option(help="White particles (RELION) or dark ones.")] = (
        Contrast.white
    )
    poses: Annotated[
        Path | None,
        typer.Option(
            help="Particles (.star, .cs) whose poses, shifts and CTFs to take, or poses.pkl."
        ),
    ] = None
    ctfs: Annotated[
        Path | None,
        typer.Option(help="Particles (.star, .cs) or ctf.pkl whose CTFs to draw from."),
    ] = None


@dataclass(frozen=True)
class FileFlags:
    """Say how the set is written."""

    panel: ClassVar[str] = "Files"
    images_per_file: Annotated[
        int | None, typer.Option(help="Cut the stack into files of so many images.")
    ] = None
    shard: Annotated[
        str | None, typer.Option(help="Write part K of N alone, as one of N programs: 2/8.")
    ] = None
    batch_size: Annotated[int, typer.Option("-b", "--batch-size", help="Images at a time.")] = 64
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a set.")] = False


@grouped
def simulate(
    outdir: Annotated[Path, typer.Option("-o", "--outdir", help="Folder to write.")],
    molecule: SpecimenFlags,
    microscope: OpticsFlags,
    level: NoiseFlags,
    images: ParticleFlags,
    files: FileFlags,
    inputs: Inputs = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same set.")] = 0,
) -> None:
    """Make particle images from atoms, maps or a made-up molecule.

    Writes a RELION 3.1 set, particles.star and particles.mrcs, and the truth: truth.npz and
    volumes/. Poses are uniform, states equally frequent. A command that was killed goes on when it
    is repeated; shards share a folder, and the last to end writes the table.

    Example: `vitreous simulate --phantom hinge -n 2000 --snr 0.1 --shift 8 -o hinge`
    """
    snr = level.ratio()
    start_jax()
    from vitreous.simulation import ParticleOptions, Shard, missing_parts, simulate_particles
    from vitreous.simulation.given import drawn_ctfs, given_poses

    part = None if files.shard is None else Shard.parse(files.shard)
    specimen = molecule.build(inputs)
    count, given = images.count, None
    if images.poses is not None:
        given = given_poses(images.poses, count, specimen.box * specimen.pixel_size)
        count = len(given.rotation)
    count = 2000 if count is None else count
    lens = given.ctf if given is not None else None
    if images.ctfs is not None:
        lens = drawn_ctfs(images.ctfs, count, seed)
    options = ParticleOptions(
        count=count,
        snr=snr,
        snr_definition=level.snr_definition.region,
        mask_radius=level.mask_radius,
        dose=level.dose,
        counting=level.counting.value,
        ice=level.ice,
        max_shift=images.shift,
        optics=microscope.optics() if images.has_ctf else None,
        contrast=images.contrast.value,
        seed=seed,
        batch=files.batch_size,
    )
    start = time.perf_counter()
    with image_bar("simulate", count) as progress:
        table = simulate_particles(
            specimen,
            outdir,
            options,
            rotations=None if given is None else given.rotation,
            shifts=None if given is None else given.shift,
            ctf=lens if images.has_ctf else None,
            images_per_file=files.images_per_file,
            shard=part,
            overwrite=files.overwrite,
            progress=progress,
        )
    seconds = time.perf_counter() - start
    missing = missing_parts(outdir, table)
    if missing:
        typer.echo(
            f"shard {files.shard} is done in {seconds:.1f} s; {len(missing)} files of other shards "
            f"are missing from {outdir}, the last of them brings particles.star"
        )
        return
    typer.echo(
        f"{count:,} particles of {specimen.box}², {specimen.pixel_size:g} Å/px, in "
        f"{seconds:.1f} s ({count / seconds:,.0f} images/s): {outdir / 'particles.star'}"
    )

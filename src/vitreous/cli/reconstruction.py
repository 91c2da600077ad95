"""Commands that make maps, compare them and mask them."""

import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from vitreous.cli.common import start_jax
from vitreous.cli.grouped import grouped
from vitreous.cli.particle_flags import ContrastFlags, ParticleFlags, Particles
from vitreous.cli.progress import image_bar
from vitreous.cli.quick_start import import_meanwhile, quick_imports, share_cores
from vitreous.errors import InputError

if TYPE_CHECKING:
    from vitreous.reconstruction.reconstruct import TiltOptions


class CTFAlgorithm(StrEnum):
    """How images and their CTF meet."""

    mul = "mul"
    flip = "flip"


@dataclass(frozen=True)
class SeriesFlags:
    """Say which tilts are used, and how they are weighted."""

    panel: ClassVar[str] = "Tilt series"
    tilt: Annotated[bool, typer.Option("--tilt", help="The images are tilt series.")] = False
    ntilts: Annotated[int, typer.Option(min=1, help="Tilts a particle, first exposed first.")] = 10
    force_ntilts: Annotated[
        bool, typer.Option("--force-ntilts", help="Leave out particles with fewer tilts.")
    ] = False
    dose_per_tilt: Annotated[
        float | None, typer.Option("-d", "--dose-per-tilt", min=0, help="e/Å² of each tilt.")
    ] = None
    angle_per_tilt: Annotated[
        float, typer.Option("-a", "--angle-per-tilt", help="Tilt step in degrees.")
    ] = 3.0

    @property
    def is_series(self) -> bool:
        """Whether the images are of tilt series."""
        return self.tilt or self.dose_per_tilt is not None

    def options(self) -> "TiltOptions":
        """Return them as the reconstruction takes them."""
        from vitreous.reconstruction.reconstruct import TiltOptions

        return TiltOptions(self.ntilts, self.force_ntilts, self.dose_per_tilt, self.angle_per_tilt)


@dataclass(frozen=True)
class MapFlags:
    """Say how the map is made, and what is written with it."""

    panel: ClassVar[str] = "Map"
    half_maps: Annotated[
        bool, typer.Option("--half-maps/--no-half-maps", help="Write half maps.")
    ] = True
    fsc_vals: Annotated[
        bool, typer.Option("--fsc-vals/--no-fsc-vals", help="Write the FSC of the half maps.")
    ] = True
    ctf_alg: Annotated[
        CTFAlgorithm,
        typer.Option(help="Multiply by the CTF and divide by its square, or flip signs."),
    ] = CTFAlgorithm.mul
    reg_weight: Annotated[
        float | None,
        typer.Option(
            min=0, help="Regularise with this multiple of the mean weight; default Wiener."
        ),
    ] = None
    output_sumcount: Annotated[
        bool, typer.Option("--output-sumcount", help="Also write the sums and weights (.npz).")
    ] = False

    def needs_halves(self, is_single_map: bool) -> bool:
        """Whether half maps are made: the Wiener filter asks for them too."""
        return (self.half_maps or self.fsc_vals) and not (
            is_single_map and self.reg_weight is not None
        )


@grouped
def backproject_voxel(
    particles: Particles,
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--outdir", help="Folder for maps and FSC; or map.mrc for the map alone."
        ),
    ],
    which: ParticleFlags,
    sign: ContrastFlags,
    made: MapFlags,
    tilts: SeriesFlags,
    first: Annotated[int | None, typer.Option(min=1, help="Use the first N images.")] = None,
    batch_size: Annotated[
        int | None, typer.Option("-b", "--batch-size", min=1, help="Images at a time.")
    ] = None,
    lazy: Annotated[bool, typer.Option("--lazy", hidden=True)] = False,
    log_interval: Annotated[str, typer.Option("--log-interval", hidden=True)] = "auto",
    seed: Annotated[int, typer.Option(help="Seed of the phase randomisation.")] = 0,
) -> None:
    """Reconstruct a map from particles with known poses, with half maps and their FSC.

    Images are never all in memory. Writes backproject.mrc, half_map_a.mrc, half_map_b.mrc,
    fsc-vals.txt and fsc-plot.png. Half maps follow the half sets of the file if it has them.
    Particles are taken as white unless --uninvert-data.

    Example: `vitreous backproject-voxel particles.star -o backproject`
    """
    # Never "auto": a map of known sign shows which sign its particles have.
    contrast = "dark" if sign.contrast() == "dark" else "white"
    if output.suffix.lower() != ".mrc" and output.is_file():
        raise InputError(f"{output}: is a file; give a folder, or a name that ends in .mrc")
    with quick_imports():
        start_jax()
        share_cores()
        from vitreous.particles import ImageSource, read_particles
        from vitreous.reconstruction.outputs import is_single_map, write_reconstruction
        from vitreous.reconstruction.reconstruct import apply_tilts, reconstruct

    import_meanwhile("scipy.ndimage", "matplotlib.figure", "matplotlib.backends.backend_agg")
    ind_of = "particles" if tilts.is_series else "images"
    table = read_particles(particles, **which.arguments(), ind_of=ind_of)  # type: ignore[arg-type]
    if tilts.is_series:
        table = apply_tilts(table, tilts.options())
    if first is not None:
        table = table.select(slice(first))
    source = ImageSource(table)
    started = time.perf_counter()
    with image_bar("Backprojecting", len(table)) as advance:
        result = reconstruct(
            table,
            source,
            contrast=contrast,  # type: ignore[arg-type]
            ctf_method="multiply" if made.ctf_alg is CTFAlgorithm.mul else "flip",
            mean_count=made.reg_weight,
            half_maps=made.needs_halves(is_single_map(output)),
            chunk=batch_size,
            progress=advance,
        )
    seconds = time.perf_counter() - started
    write_reconstruction(result, output, made.half_maps, made.fsc_vals, made.output_sumcount, seed)
    line = f"{output}: {result.images:,} images at {result.voxel_size:g} Å/voxel"
    if result.fsc is not None:
        line += f", half-map FSC 0.143 at {result.resolution():.2f} Å (no mask)"
    typer.echo(f"{line}, {result.images / seconds:,.0f} images/s")


def fsc(
    volumes: Annotated[list[Path], typer.Argument(help="Two maps of one box.")],
    reference: Annotated[
        Path | None,
        typer.Option("--ref-volume", help="Map to find masks in: writes all five curves."),
    ] = None,
    mask: Annotated[Path | None, typer.Option(help="Mask to multiply both maps with.")] = None,
    corrected: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="With --mask: take off what the mask adds, randomising phases from this shell "
            "on (below 1: from this frequency in cycles/pixel).",
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("-p", "--plot", help="Draw the curves (.png, .svg, .pdf).")
    ] = None,
    pixel_size: Annotated[float | None, typer.Option("--Apix", help="Å per voxel.")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--outtxt", help="Write the curves as text.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the phase randomisation.")] = 0,
) -> None:
    """Correlate two maps shell by shell and print where the curve falls below 0.5 and 0.143.

    The resolution is that of the first crossing, interpolated between shells.

    Example: `vitreous fsc half_map_a.mrc half_map_b.mrc --mask mask.mrc --corrected 0.1 -p fsc.png`
    """
    if len(volumes) != 2:
        raise InputError(f"fsc compares two maps, {len(volumes)} were given")
    if reference is not None and (mask is not None or corrected is not None):
        raise InputError("--ref-volume finds its own masks; leave out --mask and --corrected")
    if corrected is not None and mask is None:
        raise InputError("--corrected takes off what a mask adds; give --mask")
    from vitreous.reconstruction.alike_maps import read_alike

    first, second = read_alike(volumes, pixel_size)
    start_jax()
    import jax
    import jax.numpy as jnp
    import numpy as np

    from vitreous.reconstruction.curves import plot_curves, write_curves
    from vitreous.reconstruction.fsc import fourier_shell_correlation, resolution
    from vitreous.reconstruction.fsc_correction import corrected_fsc, masked_curves

    box, voxel_size = len(first.data), first.voxel_size
    if reference is not None:
        (whole,) = read_alike([reference], pixel_size, like=(volumes[0], first))
        curves = masked_curves(first.data, second.data, whole.data, voxel_size, seed)
    else:
        a, b = jnp.asarray(first.data), jnp.asarray(second.data)
        factor = jnp.ones_like(a)
        if mask is not None:
            (soft,) = read_alike([mask], pixel_size, like=(volumes[0], first))
            factor = jnp.asarray(soft.data)
        if corrected is None:
            curve = fourier_shell_correlation(a * factor, b * factor)
        else:
            shell = corrected * box if corrected < 1 else corrected
            curve = corrected_fsc(a, b, factor, shell, jax.random.key(seed))
        curves = {"fsc": np.asarray(curve)}
    for name, curve in curves.items():
        half, gold = (resolution(curve, voxel_size, t, box) for t in (0.5, 0.143))
        typer.echo(f"{name:>10}  0.5 at {half:.2f} Å   0.143 at {gold:.2f} Å")
    if output is not None:
        write_curves(output, curves, box)
    if plot is not None:
        plot_curves(plot, curves, voxel_size, box, " / ".join(path.name for path in volumes))


def gen_mask(
    volume: Annotated[Path, typer.Argument(help="Map to follow.")],
    output: Annotated[Path, typer.Argument(help="Mask to write (.mrc).")],
    threshold: Annotated[
        float | None,
        typer.Option(help="Density of the particle; default half the 99.99th percentile."),
    ] = None,
    dilate: Annotated[float, typer.Option(min=0, help="Grow by this many Å.")] = 25.0,
    dist: Annotated[float, typer.Option(min=0, help="Width of the cosine edge in Å.")] = 15.0,
    pixel_size: Annotated[float | None, typer.Option("--Apix", help="Å per voxel.")] = None,
    plot: Annotated[
        Path | None, typer.Option("-p", "--plot", help="Draw central slices (.png).")
    ] = None,
) -> None:
    """Make a soft mask from a map: threshold, grow, and give it a cosine edge.

    Example: `vitreous gen-mask backproject.mrc mask.mrc --dilate 12 --dist 10 -p mask.png`
    """
    from vitreous.particles import read_map, write_map
    from vitreous.reconstruction.masks import automatic_threshold, mask_from_map

    source = read_map(volume, pixel_size)
    level = automatic_threshold(source.data) if threshold is None else threshold
    mask = mask_from_map(source.data, source.voxel_size, level, dilate, dist)
    if not mask.any():
        raise InputError(f"{volume}: no voxel reaches {level:g}; lower --threshold")
    write_map(output, mask, source.voxel_size, source.origin)
    if plot is not None:
        from vitreous.reconstruction.pictures import plot_mask

        plot_mask(plot, source.data, mask, level)
    typer.echo(f"{output}: threshold {level:.4g}, {mask.mean():.1%} of the box")

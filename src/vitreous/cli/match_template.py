"""The command that finds a molecule in micrographs by the likeness of its views."""

import time
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from vitreous.cli.common import start_jax
from vitreous.cli.grouped import grouped
from vitreous.cli.progress import image_bar
from vitreous.cli.specimen_flags import Contrast
from vitreous.errors import InputError, Interrupted

if TYPE_CHECKING:
    from vitreous.imaging.ctf import CTFParameters
    from vitreous.simulation import MapStates


class Score(StrEnum):
    """The map in which peaks are found."""

    auto = "auto"
    snr = "snr"
    z = "z"


@dataclass(frozen=True)
class LensFlags:
    """Say what the CTF of micrographs is that no table describes."""

    panel: ClassVar[str] = "Microscope, for .mrc files"
    defocus: Annotated[
        tuple[float, float, float] | None,
        typer.Option(help="U and V in Å (under: +) and the angle of U in degrees."),
    ] = None
    kv: Annotated[float, typer.Option(help="Voltage, kV.")] = 300.0
    cs: Annotated[float, typer.Option(help="Spherical aberration, mm.")] = 2.7
    w: Annotated[float, typer.Option("-w", help="Amplitude contrast, 0 to 1.")] = 0.1
    phase_shift: Annotated[float, typer.Option(help="Of a phase plate, degrees.")] = 0.0
    has_ctf: Annotated[bool, typer.Option("--ctf/--no-ctf", help="Micrographs have a CTF.")] = True

    def ctf(self) -> "CTFParameters | None":
        """Return the parameters, or None if they are not given here."""
        import numpy as np

        from vitreous.imaging.ctf import CTFParameters

        if self.defocus is None:
            return None
        values = (*self.defocus, self.kv, self.cs, self.w, self.phase_shift, 0.0, 1.0)
        return CTFParameters(*(np.asarray(value, np.float32) for value in values))


@dataclass(frozen=True)
class TemplateFlags:
    """Say how the template is made."""

    panel: ClassVar[str] = "Template"
    box: Annotated[
        int | None,
        typer.Option("-D", "--box", min=4, help="Box of the template; default: it just fits."),
    ] = None
    selection: Annotated[
        str | None, typer.Option(help="Which atoms, in Gemmi's language: A/10-20.")
    ] = None
    assembly: Annotated[
        str | None, typer.Option(help="Biological assembly of the file to build, such as 1.")
    ] = None
    atom_bfactor: Annotated[float, typer.Option(help="B factor added to every atom's own, Å².")] = (
        0.0
    )

    def at(self, template: Path, pixel_size: float) -> "MapStates":
        """Make the template of a file at a pixel size in Å."""
        from vitreous.simulation import MapStates, box_for_structure, state_maps
        from vitreous.simulation.structures import is_structure

        box = self.box
        if box is None and is_structure(template):
            box = box_for_structure(template, pixel_size, self.selection, self.assembly)
        maps, _ = state_maps(
            [template],
            box,
            pixel_size,
            self.selection,
            self.atom_bfactor,
            assembly=self.assembly,
        )
        return MapStates.of(maps, pixel_size)


@dataclass(frozen=True)
class SearchFlags:
    """Say what is tried."""

    panel: ClassVar[str] = "Search"
    step: Annotated[float, typer.Option(help="Degrees between directions.")] = 5.0
    in_plane_step: Annotated[
        float | None, typer.Option(help="Degrees between in-plane angles; default --step.")
    ] = None
    sym: Annotated[str, typer.Option(help="Point group of the template: C4, D2, T, O, I.")] = "C1"
    defocus_range: Annotated[
        float, typer.Option(help="Try defoci up to so much from the micrograph's, Å.")
    ] = 0.0
    defocus_step: Annotated[float, typer.Option(help="Between two defoci, Å.")] = 200.0
    finest: Annotated[float | None, typer.Option(help="Leave out detail finer than this, Å.")] = (
        None
    )
    coarsest: Annotated[
        float | None, typer.Option(help="Leave out detail coarser than this, Å.")
    ] = None
    contrast: Annotated[
        Contrast, typer.Option(help="Dark particles, as cameras see them, or white ones.")
    ] = Contrast.dark
    score: Annotated[
        Score,
        typer.Option(help="Find peaks in the largest correlations or in z scores of them."),
    ] = Score.auto
    false_positives: Annotated[
        float, typer.Option(help="Peaks of noise to let through in a micrograph.")
    ] = 1.0
    min_distance: Annotated[
        float | None, typer.Option(help="Between two peaks, Å; default half the box.")
    ] = None


@grouped
def match_template(
    micrographs: Annotated[
        list[Path], typer.Argument(help="Micrographs (.mrc), or tables of them (.star).")
    ],
    outdir: Annotated[Path, typer.Option("-o", "--outdir", help="Folder to write.")],
    template: Annotated[
        Path, typer.Option("--template", help="A structure (.pdb, .cif) or a map (.mrc).")
    ],
    molecule: TemplateFlags,
    search: SearchFlags,
    lens: LensFlags,
    apix: Annotated[
        float | None,
        typer.Option("--apix", "--Apix", help="Å per pixel, in place of what files say."),
    ] = None,
    maps: Annotated[
        bool, typer.Option("--maps/--no-maps", help="Write the maps of each micrograph.")
    ] = True,
    batch_size: Annotated[
        int | None,
        typer.Option("-b", "--batch-size", help="Orientations at a time; default fits memory."),
    ] = None,
) -> None:
    """Find a molecule in micrographs: correlate every view of it with every place.

    Writes peaks.star (RELION layout: places, angles, defocus, score) and for each micrograph its
    maps of the best score, angles and defocus, a histogram and a picture. Scores count standard
    deviations of the noise; the threshold lets one peak of noise through if all correlations were
    independent. A command that was stopped goes on when it is repeated.

    Example: `vitreous match-template mic.mrc --template map.mrc --defocus 15000 14800 30 -o found`
    """
    given = lens.ctf()
    if not template.is_file():
        raise InputError(f"{template}: no such file; give a structure or a map")
    start_jax()
    from vitreous.simulation.matching import MatchOptions, planned_angles
    from vitreous.simulation.matching.session import match_micrographs
    from vitreous.simulation.micrograph_files import read_micrographs
    from vitreous.training.signals import stop_on_signal

    options = MatchOptions(
        step=search.step,
        in_plane_step=search.in_plane_step,
        symmetry=search.sym,
        defocus_range=search.defocus_range,
        defocus_step=search.defocus_step,
        finest=search.finest,
        coarsest=search.coarsest,
        contrast=search.contrast.value,
        score=search.score.value,
        false_positives=search.false_positives,
        distance=search.min_distance,
        batch=batch_size,
    )
    listed = read_micrographs(micrographs, given, apix, has_ctf=lens.has_ctf)
    orientations = len(planned_angles(options))
    began = time.perf_counter()
    with (
        stop_on_signal() as stop,
        image_bar("match", orientations * len(listed), "orientations") as progress,
    ):
        found = match_micrographs(
            listed,
            lru_cache(maxsize=4)(partial(molecule.at, template)),
            outdir,
            options,
            with_maps=maps,
            progress=progress,
            should_stop=lambda: bool(stop),
        )
    if found is None:
        raise Interrupted("stopped; the same command goes on where it was")
    seconds = time.perf_counter() - began
    count = "1 micrograph" if len(listed) == 1 else f"{len(listed):,} micrographs"
    typer.echo(
        f"{len(found.main):,} peaks in {count}, {orientations:,} orientations each, in "
        f"{seconds:.1f} s: {outdir / 'peaks.star'}"
    )

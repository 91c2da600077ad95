"""Options of every command that simulates: what lies under the microscope, and how it is set."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from vitreous.errors import InputError

if TYPE_CHECKING:
    from vitreous.simulation import Optics
    from vitreous.simulation.specimen import Specimen

Inputs = Annotated[
    list[Path] | None,
    typer.Argument(help="Structures (.pdb, .cif) or maps (.mrc), one a state."),
]


class Phantom(StrEnum):
    """Molecules that are made up."""

    hinge = "hinge"


class Contrast(StrEnum):
    """Sign of the particles."""

    white = "white"
    dark = "dark"


class Counting(StrEnum):
    """How electrons are counted."""

    poisson = "poisson"
    gaussian = "gaussian"


class Kernel(StrEnum):
    """Interpolation between the points of a map's transform."""

    linear = "linear"
    cubic = "cubic"
    kaiser = "kaiser"


@dataclass(frozen=True)
class SpecimenFlags:
    """Say which molecule is simulated, in which states and on which grid."""

    panel: ClassVar[str] = "Specimen"
    phantom: Annotated[
        Phantom | None, typer.Option(help="A made-up molecule in place of files.")
    ] = None
    box: Annotated[
        int | None,
        typer.Option("-D", "--box", min=4, help="Box in pixels; phantom: 64; a map: its own."),
    ] = None
    apix: Annotated[
        float | None,
        typer.Option("--apix", "--Apix", help="Å per pixel; phantom: 3.2; a map: its own."),
    ] = None
    weights: Annotated[
        list[float] | None,
        typer.Option("--weights", help="How frequent each state is, a number each; default alike."),
    ] = None
    models: Annotated[
        bool, typer.Option("--models", help="Every model of a structure file is a state.")
    ] = False
    assembly: Annotated[
        str | None, typer.Option(help="Biological assembly of the file to build, such as 1.")
    ] = None
    angles: Annotated[tuple[float, float], typer.Option(help="Range of the hinge, degrees.")] = (
        0.0,
        60.0,
    )
    states: Annotated[
        int, typer.Option(min=1, help="Parts of the hinge's range with a true map.")
    ] = 12
    selection: Annotated[
        str | None, typer.Option(help="Which atoms, in Gemmi's language: A/10-20.")
    ] = None
    atom_bfactor: Annotated[float, typer.Option(help="B factor added to every atom's own, Å².")] = (
        0.0
    )
    kernel: Annotated[Kernel, typer.Option(help="Interpolation of slices.")] = Kernel.kaiser

    def build(self, inputs: list[Path] | None) -> "Specimen":
        """Read files or make the phantom up; imports JAX.

        **Raises:** `InputError` for files that do not fit and options that contradict each other.
        """
        from vitreous.simulation import HingeMotion, MapStates, hinge_phantom, state_maps

        if (self.phantom is None) == (not inputs):
            raise InputError("give structures, maps, or --phantom hinge: one of them")
        if self.apix is not None and not self.apix > 0:
            raise InputError(f"--apix {self.apix:g}: Å per pixel must be positive")
        if not inputs:
            if self.weights or self.models or self.selection or self.assembly:
                raise InputError("--weights, --models, --selection, --assembly need a file")
            box, apix = self.box or 64, self.apix or 3.2
            return HingeMotion(hinge_phantom(), box, apix, *self.angles, self.states)
        maps, voxel_size = state_maps(
            inputs,
            self.box,
            self.apix,
            self.selection,
            self.atom_bfactor,
            self.models,
            self.assembly,
        )
        return MapStates.of(maps, voxel_size, self.kernel.value, weights=self.weights)


@dataclass(frozen=True)
class OpticsFlags:
    """Say how the microscope is set."""

    panel: ClassVar[str] = "Microscope"
    defocus: Annotated[
        tuple[float, float], typer.Option(help="Lowest and highest defocus, Å (under: +).")
    ] = (8000.0, 22000.0)
    astigmatism: Annotated[float, typer.Option(help="Largest |U − V|, Å.")] = 400.0
    kv: Annotated[float, typer.Option(help="Voltage, kV.")] = 300.0
    cs: Annotated[float, typer.Option(help="Spherical aberration, mm.")] = 2.7
    w: Annotated[float, typer.Option("-w", help="Amplitude contrast, 0 to 1.")] = 0.1
    phase_shift: Annotated[float, typer.Option(help="Of a phase plate, degrees.")] = 0.0
    bfactor: Annotated[float, typer.Option(help="Envelope exp(−B k²/4), Å².")] = 0.0

    def optics(self) -> "Optics":
        """Return the settings."""
        from vitreous.simulation import Optics

        return Optics(
            self.kv,
            self.cs,
            self.w,
            self.phase_shift,
            self.bfactor,
            self.defocus,
            self.astigmatism,
        )

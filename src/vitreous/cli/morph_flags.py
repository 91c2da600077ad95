"""Options of `morph-train` and `morph-predict`, grouped by what they speak of."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from vitreous.errors import InputError

if TYPE_CHECKING:
    from vitreous.methods.morph.train import MorphInputs

Directory = Annotated[Path, typer.Option("-d", "--directory", help="Folder to write into.")]
Device = Annotated[int, typer.Option("-g", "--gpu", help="Which device.")]
PixelSize = Annotated[float | None, typer.Option("--Apix", help="Å per voxel.")]


class Field(StrEnum):
    """Kinds of velocity fields."""

    mlp = "mlp"
    spline = "spline"


class Mode(StrEnum):
    """Kinds of predictions."""

    push = "push"
    pull = "pull"
    both = "both"


@dataclass(frozen=True)
class MapFlags:
    """Which maps are carried and reached."""

    panel: ClassVar[str] = "Maps"
    target_map: Annotated[
        list[Path] | None,
        typer.Option("-i1", "--target-map", help="Map to reach; several are reached in turn."),
    ] = None
    initial_threshold: Annotated[
        float | None,
        typer.Option("-t0", "--initial-threshold", help="Density that counts; default: chosen."),
    ] = None
    target_threshold: Annotated[
        list[float] | None,
        typer.Option("-t1", "--target-threshold", help="The same of each target."),
    ] = None
    initial_mask: Annotated[
        Path | None, typer.Option("-m0", "--initial-mask", help="Mask for the initial map.")
    ] = None
    target_mask: Annotated[
        Path | None, typer.Option("-m1", "--target-mask", help="Mask for the targets.")
    ] = None
    half1: Annotated[
        Path | None, typer.Option("--half1", help="Half map of the target to fit.")
    ] = None
    half2: Annotated[
        Path | None, typer.Option("--half2", help="The other, which says when to stop.")
    ] = None
    binning: Annotated[int, typer.Option("-b", "--binning", help="Average blocks first.")] = 1
    match_resolution: Annotated[
        bool, typer.Option(help="Blur the initial map like the target while fitting.")
    ] = True
    pixel_size: PixelSize = None

    def inputs(self, initial: Path, weights: Path | None) -> "MorphInputs":
        """Name the files of a fit.

        **Raises:** `InputError` if only one half map is given.
        """
        if (self.half1 is None) != (self.half2 is None):
            raise InputError("--half1 and --half2 come together")
        from vitreous.methods.morph.train import MorphInputs

        halves = (self.half1, self.half2) if self.half1 and self.half2 else None
        return MorphInputs(
            initial, tuple(self.target_map or ()), self.initial_threshold,
            tuple(self.target_threshold or ()), self.initial_mask, self.target_mask, halves,
            weights, self.pixel_size,
        )  # fmt: skip


@dataclass(frozen=True)
class FlowFlags:
    """What the velocity field is."""

    panel: ClassVar[str] = "Flow"
    velocity: Annotated[Field, typer.Option(help="Perceptron or coarse cubic spline.")] = Field.mlp
    depth: Annotated[int, typer.Option(help="Linear layers.")] = 3
    width: Annotated[int, typer.Option(help="Hidden width.")] = 100
    control_points: Annotated[int, typer.Option(help="Spline control points a side.")] = 10
    time_dependent: Annotated[
        bool, typer.Option("--time-dependent", help="Let the field change on the way.")
    ] = False
    symmetry: Annotated[str, typer.Option("--sym", help="Point group: C4, D2, T, O, I.")] = "C1"


@dataclass(frozen=True)
class LossFlags:
    """What is minimised."""

    panel: ClassVar[str] = "Distance and strain"
    w2_eps: Annotated[
        float | None,
        typer.Option(help="Least ε of the transport in squares of the box; default: from voxels."),
    ] = None
    w2_iter: Annotated[int, typer.Option(help="Sinkhorn iterations (--compat: 5).")] = 3
    l2: Annotated[bool, typer.Option("--l2", help="Squared difference instead.")] = False
    mu_mesh: Annotated[
        float | None,
        typer.Option(help="Weight of strain, Å² (--compat: the peer's); default: from voxels."),
    ] = None


@dataclass(frozen=True)
class FitFlags:
    """How it is minimised, and for how long."""

    panel: ClassVar[str] = "Fit"
    n_steps: Annotated[int, typer.Option("-n", "--n-steps", help="Iterations.")] = 300
    period: Annotated[int, typer.Option("-p", "--period", help="Iterations to a report.")] = 50
    lr: Annotated[
        float | None, typer.Option(help="Learning rate; default 3e-3, a spline 3e-2, falling.")
    ] = None
    patience: Annotated[int, typer.Option(help="Reports without a better half-map FSC.")] = 3
    weight: Annotated[
        Path | None, typer.Option("-w", "--weight", help="Weights to go on from (net.pt).")
    ] = None
    compat: Annotated[
        bool, typer.Option("--compat", help="Fit as CryoTRANS does, and write its net.pt.")
    ] = False
    seed: Annotated[int, typer.Option(help="Seed of the first weights.")] = 0


@dataclass(frozen=True)
class FrameFlags:
    """What a prediction writes."""

    panel: ClassVar[str] = "Output"
    prefix: Annotated[str, typer.Option("-p", "--prefix", help="Name of the frames.")] = "frame"
    mode: Annotated[
        Mode, typer.Option(help="Conserve mass (push) or values (pull); both writes both.")
    ] = Mode.push
    n_frames: Annotated[int, typer.Option(min=1, help="Frames, both ends included.")] = 11
    motion: Annotated[bool, typer.Option("--motion", help="Write displacement and det F maps.")] = (
        False
    )
    model: Annotated[
        Path | None, typer.Option("--model", help="Atoms (.cif, .pdb) to carry along.")
    ] = None
    movie: Annotated[bool, typer.Option("--movie", help="Write a movie of the frames.")] = False

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `predict_morph` that these options decide."""
        return {
            "prefix": self.prefix,
            "mode": self.mode.value,
            "frames": self.n_frames,
            "with_motion": self.motion,
            "model": self.model,
        }

"""Options of `train-vae`, `train-dec` and `train-nn`: how they learn, and all of them together."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer

from vitreous.cli.fit_flags import ImageFlags, RunFlags
from vitreous.cli.network_flags import DecoderFlags
from vitreous.cli.particle_flags import ContrastFlags, ParticleFlags

_HIDDEN: dict[str, Any] = {"hidden": True}


@dataclass(frozen=True)
class OptimiserFlags:
    """How weights are learnt."""

    panel: ClassVar[str] = "Optimiser"
    num_epochs: Annotated[
        int, typer.Option("-n", "--num-epochs", help="Passes over the images.")
    ] = 20
    batch_size: Annotated[
        int | None,
        typer.Option("-b", "--batch-size", help="Images a step [16 on CPU, 64 on GPU]."),
    ] = None
    lr: Annotated[float | None, typer.Option("--lr", help="Peak learning rate [0.002].")] = None
    warmup: Annotated[
        float | None, typer.Option(help="Share of the training to warm up in [0.05].")
    ] = None
    lr_schedule: Annotated[
        str | None, typer.Option("--lr-schedule", help="cosine, linear or constant [cosine].")
    ] = None
    wd: Annotated[float, typer.Option("--wd", help="Weight decay.")] = 0.0
    precision: Annotated[
        str, typer.Option(help="Of matrix products: auto, float32, tensorfloat32 or bfloat16.")
    ] = "auto"
    no_amp: Annotated[bool, typer.Option("--no-amp", help="The same as --precision float32.")] = (
        False
    )
    sampled_pixels: Annotated[
        int | None,
        typer.Option(help="High-resolution pixels a step, drawn anew each time [1/8 of them]."),
    ] = None
    all_pixels: Annotated[
        bool, typer.Option("--all-pixels", help="Use every pixel in every step.")
    ] = False
    preset: Annotated[
        str | None,
        typer.Option("--preset", help="'cryodrgn': that program's settings for all not given."),
    ] = None


@dataclass(frozen=True)
class PoseFlags:
    """Whether and how poses are refined on the way."""

    panel: ClassVar[str] = "Poses"
    do_pose_sgd: Annotated[bool, typer.Option("--do-pose-sgd", help="Refine poses on the way.")] = (
        False
    )
    pretrain: Annotated[
        int, typer.Option("--pretrain", "--pretrain-pose", help="Epochs before poses move.")
    ] = 5
    pose_steps: Annotated[
        int | None, typer.Option(help="Gauss-Newton steps a visit; 0: one gradient step [1].")
    ] = None
    pose_spread: Annotated[
        tuple[float, float], typer.Option(help="Errors expected: degrees (each axis) and Å.")
    ] = (2.0, 2.0)
    pose_lr: Annotated[
        float | None, typer.Option("--pose-lr", help="Gradient steps of so many degrees and Å.")
    ] = None

    def settings(self) -> dict[str, Any]:
        """Return fields of `LatentConfig`."""
        return {
            "refine_poses": self.do_pose_sgd,
            "pretrain_pose": self.pretrain,
            "pose_spread": self.pose_spread,
        } | self._steps()

    def _steps(self) -> dict[str, Any]:
        """A size of gradient steps asks for them."""
        if self.pose_lr is None:
            return {} if self.pose_steps is None else {"pose_steps": self.pose_steps}
        return {"pose_steps": self.pose_steps or 0, "pose_rate": self.pose_lr}


@dataclass(frozen=True)
class TiltFlags:
    """What of a tilt series is used; such tables are recognised by themselves."""

    panel: ClassVar[str] = "Tilt series"
    ntilts: Annotated[
        int | None, typer.Option(min=1, help="Tilts a particle, first exposed first [all].")
    ] = None
    random_tilts: Annotated[
        bool, typer.Option("--random-tilts", help="Draw --ntilts of them anew every epoch.")
    ] = False
    dose_per_tilt: Annotated[
        float | None, typer.Option(min=0, help="e/Å² of each tilt [from the file].")
    ] = None
    angle_per_tilt: Annotated[
        float, typer.Option(help="Tilt step in degrees, where the file has no scale factors.")
    ] = 3.0
    per_image: Annotated[
        bool, typer.Option("--per-image", help="Give every tilt image a latent of its own.")
    ] = False

    tilt: Annotated[
        Path | None,
        typer.Option("--tilt", help="Second image of each particle, the stage turned about x."),
    ] = None
    tilt_deg: Annotated[
        float, typer.Option("--tilt-deg", help="By so many degrees, with --tilt.")
    ] = 45.0

    def arguments(self) -> dict[str, Any]:
        """Return the fields of `DataOptions` that these options decide."""
        return {
            "tilted": None if self.tilt is None else str(self.tilt),
            "tilt_angle": self.tilt_deg,
        }

    def settings(self) -> dict[str, Any]:
        """Return fields of `LatentConfig`."""
        return {
            "by_particle": False if self.per_image else None,
            "tilts": self.ntilts,
            "random_tilts": self.random_tilts,
            "dose_per_tilt": self.dose_per_tilt,
            "angle_per_tilt": self.angle_per_tilt,
        }


@dataclass(frozen=True)
class PeerFlags:
    """What the peer's scripts may say and needs no answer here."""

    multigpu: Annotated[bool, typer.Option("--multigpu", **_HIDDEN)] = False
    num_workers: Annotated[int | None, typer.Option("--num-workers", **_HIDDEN)] = None
    shuffle_seed: Annotated[int | None, typer.Option("--shuffle-seed", **_HIDDEN)] = None
    emb_type: Annotated[str | None, typer.Option("--emb-type", **_HIDDEN)] = None
    relion31: Annotated[bool, typer.Option("--relion31", **_HIDDEN)] = False
    l_extent: Annotated[float | None, typer.Option("--l-extent", **_HIDDEN)] = None


@dataclass(frozen=True)
class TrainFlags:
    """What all three commands may be told."""

    which: ParticleFlags
    sign: ContrastFlags
    images: ImageFlags
    place: RunFlags
    optimiser: OptimiserFlags
    decoder: DecoderFlags
    tilts: TiltFlags
    peer: PeerFlags

"""Options of `train-vae`, `train-dec` and `train-nn`, grouped by what they speak of."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer

from vitreous.cli.particle_flags import ContrastFlags, ParticleFlags
from vitreous.errors import InputError

_HIDDEN: dict[str, Any] = {"hidden": True}


@dataclass(frozen=True)
class PlaceFlags:
    """Where the run lives, and how it is gone on with."""

    panel: ClassVar[str] = "Run"
    load: Annotated[
        str | None,
        typer.Option("--load", help="Go on with the run in --outdir: 'latest' or a path in it."),
    ] = None
    resume: Annotated[bool, typer.Option("--resume", help="The same as --load latest.")] = False
    overwrite: Annotated[bool, typer.Option(help="Replace a run that --outdir holds.")] = False
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="More lines in the log.")] = False

    def goes_on(self, outdir: Path) -> bool:
        """Say whether an earlier run is gone on with.

        **Raises:** `InputError` if `--load` names something outside the run.
        """
        if self.load not in (None, "latest"):
            target = Path(self.load).resolve()
            if outdir.resolve() not in (target, *target.parents):
                raise InputError(f"--load {self.load}: not inside --outdir {outdir}")
        return self.resume or self.load is not None


@dataclass(frozen=True)
class RunFlags(PlaceFlags):
    """How often a run is saved and reported on, too."""

    checkpoint: Annotated[int, typer.Option(help="Save every so many epochs.")] = 1
    log_interval: Annotated[int, typer.Option(help="Report about every so many images.")] = 1000


@dataclass(frozen=True)
class ImageFlags:
    """How images are prepared and held."""

    panel: ClassVar[str] = "Images"
    window: Annotated[bool, typer.Option("--window/--no-window", help="Soft round window.")] = True
    window_radius: Annotated[
        float, typer.Option("--window-r", help="Where the window begins to fall (of half a box).")
    ] = 0.85
    norm: Annotated[
        tuple[float, float] | None,
        typer.Option("--norm", help="Mean and standard deviation of the images [measured]."),
    ] = None
    lazy: Annotated[bool, typer.Option(help="Stream images from disk even if they would fit.")] = (
        False
    )
    cache: Annotated[
        bool,
        typer.Option("--cache", help="Copy them into one file beside the run; stream from there."),
    ] = False
    shuffler_size: Annotated[
        int,
        typer.Option(help="With --lazy: read runs of neighbouring images (for spinning disks)."),
    ] = 0
    max_threads: Annotated[int, typer.Option("--max-threads", help="Threads that read images.")] = 4
    storage: Annotated[
        str, typer.Option(help="Of images held on the device: float32, bfloat16 or float16.")
    ] = "float32"
    devices: Annotated[
        int | None, typer.Option(help="Devices that share the images [all there are].")
    ] = None

    def arguments(self) -> dict[str, Any]:
        """Return the fields of `DataOptions` that these options decide."""
        return {
            "devices": self.devices,
            "window_radius": self.window_radius if self.window else None,
            "normalization": self.norm,
            "lazy": self.lazy,
            "storage": self.storage,
        }


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
class EncoderFlags:
    """The network from an image to its latent."""

    panel: ClassVar[str] = "Encoder"
    encode_mode: Annotated[
        str | None,
        typer.Option(
            "--encode-mode",
            help="lift, resid, mlp or conv [lift]; of tilts in order: tilt, tilt-pixels.",
        ),
    ] = None
    enc_layers: Annotated[int, typer.Option("--enc-layers", "--qlayers", help="Hidden layers.")] = 3
    enc_dim: Annotated[int, typer.Option("--enc-dim", "--qdim", help="Nodes a layer.")] = 256
    enc_mask: Annotated[
        int | None,
        typer.Option("--enc-mask", help="Outermost shell the encoder sees, -1 for all [14]."),
    ] = None
    t_emb_dim: Annotated[
        int, typer.Option("--t-emb-dim", help="With tilt-pixels: numbers that tell of an image.")
    ] = 64
    tlayers: Annotated[
        int, typer.Option("--tlayers", help="With tilt: hidden layers over all images.")
    ] = 3
    tdim: Annotated[int, typer.Option("--tdim", help="With tilt: nodes of such a layer.")] = 256
    use_real: Annotated[bool, typer.Option("--use-real", **_HIDDEN)] = False

    def settings(self) -> dict[str, Any]:
        """Return fields of `LatentConfig`."""
        return {
            "encoder_layers": self.enc_layers,
            "encoder_width": self.enc_dim,
            "encoder_band": self.enc_mask,
            "tilt_embedding": self.t_emb_dim,
            "tilt_layers": self.tlayers,
            "tilt_width": self.tdim,
        }


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
class DecoderFlags:
    """The network from a latent to a volume, and what it is told beforehand."""

    panel: ClassVar[str] = "Decoder"
    dec_layers: Annotated[
        int, typer.Option("--dec-layers", "--players", "--layers", help="Hidden layers.")
    ] = 3
    dec_dim: Annotated[int, typer.Option("--dec-dim", "--pdim", "--dim", help="Nodes a layer.")] = (
        256
    )
    pe_type: Annotated[
        str, typer.Option("--pe-type", help="Positional encoding; see the docs.")
    ] = "gaussian"
    pe_dim: Annotated[int | None, typer.Option("--pe-dim", help="Frequencies an axis [D/2].")] = (
        None
    )
    feat_sigma: Annotated[
        float, typer.Option("--feat-sigma", help="Scale of gaussian encoding.")
    ] = 0.5
    domain: Annotated[str, typer.Option("--domain", help="fourier or hartley.")] = "fourier"
    activation: Annotated[str, typer.Option("--activation", help="relu or leaky_relu.")] = "relu"
    consensus: Annotated[
        bool | None,
        typer.Option(
            "--consensus/--no-consensus",
            help="Model the change from a consensus map [yes; train-nn: no].",
        ),
    ] = None
    particle_diameter: Annotated[
        float | None,
        typer.Option("--particle-diameter", help="Å; density beyond is 0 [measured]."),
    ] = None
    support: Annotated[
        bool, typer.Option("--support/--no-support", help="Set the solvent of volumes to 0.")
    ] = True
    whiten: Annotated[
        bool, typer.Option("--whiten/--no-whiten", help="Divide by the noise spectrum.")
    ] = True
    max_shell: Annotated[int | None, typer.Option(help="Outermost Fourier shell used [all].")] = (
        None
    )


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

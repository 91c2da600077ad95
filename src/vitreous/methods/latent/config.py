"""Settings of the latent methods, and the sets of them that have a name."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from vitreous.errors import InputError
from vitreous.methods.latent.encoder import EncoderType
from vitreous.training.networks.decoder import Domain
from vitreous.training.networks.positional_encoding import EncodingType
from vitreous.training.networks.residual_mlp import Activation

Kind = Literal["vae", "autodecoder", "homogeneous"]
Decay = Literal["constant", "linear", "cosine"]


@dataclass(frozen=True)
class LatentConfig:
    """Hold every setting of a fit; the defaults are those that won (`benchmarks/latent_igg.py`).

    **Fields**, grouped: *model* `kind`, `zdim`, `encoder`, `encoder_layers`, `encoder_width`,
    `encoder_band` (outermost shell the encoder sees; None chooses, −1 is all), `decoder_layers`,
    `decoder_width`, `encoding`, `encoding_size` (None: D/2), `feature_sigma`, `domain`,
    `activation`, `consensus` (model the difference from a consensus map), `particle_diameter`
    (Å; None measures it), `support` (decoded volumes are 0 outside the particle's sphere),
    `max_shell` (None: all). *Loss*: `beta` (number or `a`–`d`), `beta_control`, `whiten` (divide
    by the noise spectrum). *Optimiser*: `epochs`, `batch_size`, `learning_rate`, `warmup` (share
    of the training), `decay`, `weight_decay`, `low_shell` and `sampled_pixels` (all pixels up to
    that shell, so many of the others per step; None takes all), `latent_rate`,
    `init_latents` (run whose latents the fit starts from), `pretrain_latent`
    (epochs with frozen latents), `seed`. *Poses*: `refine_poses`, `pretrain_pose` (epochs before
    it begins), `pose_steps` (Gauss–Newton steps a visit; 0: one of Adam), `pose_spread`
    (expected errors, degrees an axis and Å: the prior of Gauss–Newton steps), `pose_rate` (of Adam:
    multiples of 1° and 1 Å). *Tilt series*: `by_particle` (one
    latent for all tilts of a particle; False: one an image; None: where the table is of tilt
    series, which True demands), `tilts` (so many of each particle,
    those exposed first; None: all), `random_tilts` (as many, drawn anew every epoch),
    `dose_per_tilt` (e/Å², in place of the file's doses), `angle_per_tilt` (degrees, where the file
    has no scale factors); of the encoders of tilts: `tilt_layers`, `tilt_width` (of the network
    over all images of a particle), `tilt_embedding` (`tilt-pixels`: numbers that tell of one).
    """

    kind: Kind = "vae"
    zdim: int = 8
    encoder: EncoderType = "lift"
    encoder_layers: int = 3
    encoder_width: int = 256
    encoder_band: int | None = None
    decoder_layers: int = 3
    decoder_width: int = 256
    encoding: EncodingType = "gaussian"
    encoding_size: int | None = None
    feature_sigma: float = 0.5
    domain: Domain = "fourier"
    activation: Activation = "relu"
    consensus: bool = True
    particle_diameter: float | None = None
    support: bool = True
    max_shell: int | None = None
    beta: float | str | None = None
    beta_control: float | None = None
    whiten: bool = True
    epochs: int = 20
    batch_size: int = 16
    learning_rate: float = 2e-3
    warmup: float = 0.05
    decay: Decay = "cosine"
    weight_decay: float = 0.0
    low_shell: int | None = None
    sampled_pixels: int | None = None
    sample: bool = True
    latent_rate: float = 1e-2
    init_latents: str | None = None
    pretrain_latent: int = 0
    refine_poses: bool = False
    pretrain_pose: int = 1
    pose_steps: int = 1
    pose_spread: tuple[float, float] = (2.0, 2.0)
    pose_rate: float = 0.1
    by_particle: bool | None = None
    tilts: int | None = None
    random_tilts: bool = False
    dose_per_tilt: float | None = None
    angle_per_tilt: float = 3.0
    tilt_embedding: int = 64
    tilt_layers: int = 3
    tilt_width: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind == "homogeneous" and self.zdim != 0:
            raise InputError("a homogeneous fit has no latent: --zdim must be 0")
        if self.kind != "homogeneous" and self.zdim < 1:
            raise InputError(f"--zdim must be at least 1, not {self.zdim}")
        if isinstance(self.beta, str) and self.beta not in "abcd":
            raise InputError(f"--beta is a number or one of a, b, c, d; not {self.beta!r}")
        if self.beta_control is not None and self.beta is None:
            raise InputError("--beta-control needs --beta, the KL divergence to hold")
        if self.tilts is not None and self.tilts < 1:
            raise InputError(f"--ntilts must be at least 1, not {self.tilts}")
        if self.encoder.startswith("tilt") and self.by_particle is False:
            raise InputError(
                "--encode-mode tilt gives a latent a particle, --per-image one an image"
            )
        if self.random_tilts and self.tilts is None:
            raise InputError("--random-tilts needs --ntilts, how many to draw")
        if self.pose_steps < 0:
            raise InputError(f"--pose-steps {self.pose_steps}: 0 for gradients, or more")
        for name in ("epochs", "batch_size", "encoder_width", "decoder_width"):
            if getattr(self, name) < 1:
                raise InputError(f"--{name.replace('_', '-')} must be at least 1")
        for flag, value in (("t-emb-dim", self.tilt_embedding), ("tdim", self.tilt_width)):
            if value < 1:
                raise InputError(f"--{flag} must be at least 1, not {value}")

    @property
    def beta_value(self) -> float | str:
        """β, by default 1 / zdim."""
        return self.beta if self.beta is not None else 1 / max(self.zdim, 1)


def peer_settings(config: LatentConfig) -> LatentConfig:
    """Return the settings cryoDRGN 4.3 would use for the same networks.

    Pixels × sign(CTF) in, no consensus, no whitening, every pixel in every step, Adam at a
    constant 1e-4.
    """
    return replace(
        config,
        encoder="resid",
        encoder_band=-1 if config.encoder_band is None else config.encoder_band,
        consensus=False,
        support=False,
        whiten=False,
        sample=False,
        learning_rate=1e-4,
        warmup=0.0,
        decay="constant",
        latent_rate=1e-4,
        pose_steps=0,
    )


def with_choices(config: LatentConfig, **choices: Any) -> LatentConfig:
    """Replace the settings that were chosen: those that are not None."""
    return replace(config, **{name: value for name, value in choices.items() if value is not None})


def config_from_dict(values: dict[str, Any]) -> LatentConfig:
    """Rebuild the settings of a run.

    **Raises:** `InputError` for a setting this version does not know.
    """
    known = LatentConfig.__dataclass_fields__
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise InputError(f"config.yaml: unknown setting {', '.join(unknown)}")
    spread = values.get("pose_spread")
    return LatentConfig(**values | ({} if spread is None else {"pose_spread": tuple(spread)}))

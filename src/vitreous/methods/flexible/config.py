"""Settings of a flexible fit."""

import math
from dataclasses import dataclass
from typing import Any

from vitreous.errors import InputError
from vitreous.methods.flexible.deformation import DecoderKind
from vitreous.methods.flexible.rendering import Method


@dataclass(frozen=True)
class FlexibleConfig:
    """Hold every setting of a fit.

    **Fields**, grouped: *Gaussians* `gaussians` (how many), `initial_model` (map), `atomic_model`
    (structure), `initial_threshold` (density that belongs to the particle; None chooses),
    `mask_file` (map: nothing moves outside), `deformation_masks` (folder of masks: rigid bodies).
    *Field* `zdim`, `decoder`, `modes`, `width`, `depth` (hidden layers). *Loss* `regularization`
    (gradient of the springs over that of the images), `kld` (strength of the latents' prior),
    `max_shell` (None: as far as the consensus reaches), `particle_diameter` (Å; None measures it).
    *Optimiser* `epochs`, `warmup` (epochs in which nothing moves), `batch_size`, `learning_rate`
    (of the field), `gaussian_rate` (of positions in shares of a width, and of logarithms),
    `seed`. *Latents* `initial_latents` (run whose latents the fit starts from), `landscape` (start
    from maps along one; None: where motion is large), `encoder` (images tell their first latents).
    `repulsion`: Gaussians that no spring joins are kept apart, too. *Poses* `refine_poses`,
    `pretrain_poses` (epochs before it begins), `pose_spread` (expected errors, degrees an axis and
    Å). `projection`: how Gaussians are drawn.
    """

    gaussians: int | None = None
    initial_model: str | None = None
    atomic_model: str | None = None
    initial_threshold: float | None = None
    mask_file: str | None = None
    deformation_masks: str | None = None
    zdim: int = 6
    decoder: DecoderKind = "factorised"
    modes: int = 32
    width: int = 64
    depth: int = 2
    regularization: float = 0.1
    kld: float = 1.0
    max_shell: int | None = None
    particle_diameter: float | None = None
    epochs: int = 30
    warmup: int = 2
    batch_size: int = 32
    learning_rate: float = 5e-3
    gaussian_rate: float = 1e-2
    initial_latents: str | None = None
    landscape: bool | None = None
    encoder: bool = True
    repulsion: bool = True
    refine_poses: bool = False
    pretrain_poses: int = 1
    pose_spread: tuple[float, float] = (2.0, 2.0)
    projection: Method = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        self._check_counts()
        self._check_amounts()
        if self.warmup < 0 or self.warmup >= self.epochs:
            raise InputError(
                f"--n-warmup-epochs {self.warmup} leaves none of {self.epochs} epochs to move in"
            )
        if self.initial_model and self.atomic_model:
            raise InputError("give --initial-model or --atomic-model, not both")

    def _check_counts(self) -> None:
        counts = {
            "n-latent-dimensions": self.zdim,
            "n-epochs": self.epochs,
            "batch-size": self.batch_size,
            "n-neurons-per-layer": self.width,
            "n-modes": self.modes,
            "n-gaussians": self.gaussians,
            "max-shell": self.max_shell,
        }
        for flag, value in counts.items():
            if value is not None and value < 1:
                raise InputError(f"--{flag} must be at least 1, not {value}")

    def _check_amounts(self) -> None:
        amounts = {
            "lr": self.learning_rate,
            "particle-diameter": self.particle_diameter,
            "pose-spread": min(self.pose_spread),
        }
        for flag, amount in amounts.items():
            if amount is not None and not (math.isfinite(amount) and amount > 0):
                raise InputError(f"--{flag} must be a number above 0, not {amount}")
        for flag, share in (
            ("regularization-factor", self.regularization),
            ("kld-factor", self.kld),
            ("n-linear-layers", self.depth),
        ):
            if not (math.isfinite(share) and share >= 0):
                raise InputError(f"--{flag} must be 0 or more, not {share}")


def config_from_dict(values: dict[str, Any]) -> FlexibleConfig:
    """Rebuild the settings of a run.

    **Raises:** `InputError` for a setting this version does not know.
    """
    # Runs from before there were an encoder and repulsion have neither.
    values = {"encoder": False, "repulsion": False, **values}
    values.pop("pose_rate", None)
    if "pose_spread" in values:
        values["pose_spread"] = tuple(values["pose_spread"])
    unknown = sorted(set(values) - set(FlexibleConfig.__dataclass_fields__))
    if unknown:
        raise InputError(f"config.yaml: unknown setting {', '.join(unknown)}")
    return FlexibleConfig(**values)

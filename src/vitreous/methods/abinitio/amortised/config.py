"""Settings of the amortised strategy: CryoFIRE's, under its names and meanings, and ours."""

from dataclasses import dataclass, field
from typing import Any, Literal

from vitreous.errors import InputError
from vitreous.methods.abinitio.amortised.encoders import EncoderKind
from vitreous.methods.abinitio.amortised.hypotheses import Assignment

Scheme = Literal["wake-sleep", "gradient"]
OutputMask = Literal["circ", "frequency_marching"]

_IMAGES = " images"


@dataclass(frozen=True)
class SeedFiles:
    """Hold the entries of a CryoFIRE configuration that name files or concern the loop.

    **Fields:** `particles`, `outdir`, `ctf`, `pose` (true poses, for scores), `ind`, `load`,
    `norm` (shift and scale: `(image − shift) / scale`), `relion31`, `lazy`, `num_workers`,
    `log_interval` (images), `log_heavy_interval` (epochs).
    """

    particles: str | None = None
    outdir: str | None = None
    ctf: str | None = None
    pose: str | None = None
    ind: str | None = None
    load: str | None = None
    norm: tuple[float, float] | None = None
    relion31: bool = False
    lazy: bool = False
    num_workers: int = 2
    log_interval: int = 50000
    log_heavy_interval: int = 5


@dataclass(frozen=True)
class AmortisedConfig:
    """Hold every setting; `benchmarks/abinitio_amortised.py` compares variants.

    **Fields of CryoFIRE**, grouped: *loop* `num_epochs` (None: as many as the set needs),
    `batch_size`, `lr`, `wd`, `seed`. *Encoder* `depth_cnn`, `channels_cnn`, `kernel_size_cnn`,
    `no_trans` (no shifts). *Conformation* `z_dim` (0: homogeneous), `variational_het`,
    `beta_conf` (number, or schedule `a`–`d`), `std_z_init`, `pose_only_phase` (z is random until
    then). *Loss* `sym_loss` (the better of image and mirror image counts), `output_mask`,
    `add_one_frequency_every`, `use_gt_poses` (the table's poses are taken as known). *Decoder*
    `hypervolume_layers`, `hypervolume_dim`, `pe_dim`, `feat_sigma` (of Gaussian features, in the
    Hartley domain). Phases are epochs, or image presentations as `"100000 images"`.

    **Fields of ours:** `scheme`: `"wake-sleep"`, or `"gradient"`, which is CryoFIRE. `encoder`:
    `"spectral"` or `"cnn"`; `encoder_width`, `encoder_layers` of the former. `heads`: hypotheses
    an image; `assignment` of heads to poses. `equivariant`: ask about all eight turns of an image.
    `sleep_steps`, `sleep_batch`: dreams for each batch of images; `sleep_rate`: learning rate;
    `first_dreams`: before the first image. `cycle_images`: between two volumes; `cycles`: how
    many. `temperature` of drawing poses. `start_band`, `max_band` (shells; None: 10, or all of a
    small box). `join_shell`: to which half sets share a volume. `particle_share`: diameter of the
    particle over the box. `max_shift`: pixels, None for a sixteenth of the box. `symmetry`.
    `first_images`: posed at random for the first volume. `trials`: first volumes tried at low
    resolution (0: none, one random volume goes on), each with `trial_images` presentations.
    `field_epochs`: of learning conformations once poses are found (None: 60,000 images, at least
    ten epochs).
    `files`: what a CryoFIRE file says beyond the method.
    """

    num_epochs: int | None = None
    batch_size: int = 256
    lr: float = 1e-4
    wd: float = 0.0
    seed: int = 0
    depth_cnn: int = 4
    channels_cnn: int = 16
    kernel_size_cnn: int = 3
    no_trans: bool = False
    z_dim: int = 0
    variational_het: bool = False
    beta_conf: float | str = 0.0
    std_z_init: float = 3.0
    pose_only_phase: float | str = 0.0
    sym_loss: bool = True
    output_mask: OutputMask = "frequency_marching"
    add_one_frequency_every: float | str = 1.0
    use_gt_poses: bool = False
    hypervolume_layers: int = 3
    hypervolume_dim: int = 256
    pe_dim: int = 6
    feat_sigma: float = 0.5
    scheme: Scheme = "wake-sleep"
    encoder: EncoderKind = "spectral"
    encoder_width: int = 512
    encoder_layers: int = 3
    heads: int = 4
    assignment: Assignment = "mixture"
    equivariant: bool = True
    sleep_steps: int = 25
    sleep_batch: int = 256
    sleep_rate: float = 1e-3
    first_dreams: int = 100_000
    cycle_images: int = 2000
    cycles: int = 30
    temperature: float = 1.0
    start_band: int = 5
    max_band: int | None = None
    join_shell: int = 3
    particle_share: float = 0.75
    max_shift: float | None = None
    symmetry: str = "C1"
    first_images: int = 30
    trials: int = 4
    trial_images: int = 12_000
    field_epochs: int | None = None
    files: SeedFiles = field(default_factory=SeedFiles)

    def __post_init__(self) -> None:
        for name in ("batch_size", "heads", "cycle_images", "cycles", "sleep_batch", "start_band"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.z_dim < 0:
            raise InputError(f"z_dim must be at least 0, not {self.z_dim}")
        if isinstance(self.beta_conf, str) and self.beta_conf not in "abcd":
            raise InputError(f"beta_conf is a number or one of a, b, c, d; not {self.beta_conf!r}")
        if self.use_gt_poses and self.sym_loss and self.scheme == "gradient":
            raise InputError("use_gt_poses needs sym_loss false: known poses have no second guess")
        for name in ("pose_only_phase", "add_one_frequency_every"):
            presentations(getattr(self, name), 1, name)

    def epochs(self, images: int) -> int:
        """Return the number of epochs for a set of so many images."""
        if self.num_epochs is not None:
            return max(self.num_epochs, 1)
        if self.scheme == "gradient":
            return 200
        return max(2, -(-self.cycles * min(self.cycle_images, images) // images))

    def shift_range(self, box: int) -> float:
        """Return how far shifts reach at first, each way along both axes, in pixels."""
        if self.no_trans:
            return 0.25
        return box / 16 if self.max_shift is None else self.max_shift

    def band_limit(self, max_shell: int) -> int:
        """Return the outermost shell in use, of those there are."""
        return min(self.max_band or 10, max_shell)


def presentations(span: float | str, images: int, name: str = "phase") -> int:
    """Turn a phase into image presentations.

    **Arguments:** `span`: epochs, or text such as `"100000 images"`. `images`: of an epoch.

    **Raises:** `InputError` if it is neither.
    """
    if isinstance(span, str):
        count = span.removesuffix(_IMAGES)
        if not span.endswith(_IMAGES) or not count.strip().isdigit():
            raise InputError(f"{name}: {span!r} is no number of epochs, and no 'N images'")
        return int(count)
    if span < 0:
        raise InputError(f"{name} must not be negative: {span}")
    return round(span * images)


def config_from_dict(values: dict[str, Any]) -> AmortisedConfig:
    """Rebuild the settings of a run.

    **Raises:** `InputError` for a setting this version does not know.
    """
    unknown = sorted(set(values) - set(AmortisedConfig.__dataclass_fields__))
    if unknown:
        raise InputError(f"config.yaml: unknown setting {', '.join(unknown)}")
    values = dict(values)
    files = dict(values.pop("files", {}))
    if files.get("norm") is not None:
        files["norm"] = tuple(files["norm"])
    return AmortisedConfig(**values, files=SeedFiles(**files))

"""Settings of a subspace fit."""

from dataclasses import dataclass
from typing import Any

from vitreous.errors import InputError

# Motion shows at low resolution, and the shells beyond cost more than they tell.
DEFAULT_SHELL = 14
# As many components are tried when their number is left open.
AUTO_COMPONENTS = 6
# Images a component must have at least; fewer cannot hold it apart from noise.
IMAGES_PER_COMPONENT = 20


@dataclass(frozen=True)
class SubspaceConfig:
    """Hold every setting of a fit.

    **Fields:** `zdim`: components, None lets half sets decide. `max_shell`: outermost shell used
    (None: 14). `iterations`: of EM in each stage of shells but the first, which has twice as many.
    `contrast`: let the contrast of images vary, by `contrast_spread` about 1.
    `focus_mask`: map file; components are 0 outside it, the mean is not. `particle_diameter`: Å,
    None measures it. `refine_poses`: also correct small pose errors, expected to be about
    `pose_spread` (degrees, Å). `online`: M-steps after every `block` images instead of every
    pass. `keep_all`: keep components that half sets do not reproduce. `dose_per_tilt` (e/Å²),
    `angle_per_tilt` (degrees): of tilt series whose file has no doses, no scale factors.
    `batch_size`, `seed`.
    """

    zdim: int | None = None
    max_shell: int | None = None
    iterations: int = 2
    contrast: bool = False
    contrast_spread: float = 0.2
    focus_mask: str | None = None
    particle_diameter: float | None = None
    refine_poses: bool = False
    pose_spread: tuple[float, float] = (1.0, 1.0)
    online: bool = False
    block: int = 10000
    keep_all: bool = False
    batch_size: int | None = None
    dose_per_tilt: float | None = None
    angle_per_tilt: float = 3.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.zdim is not None and self.zdim < 1:
            raise InputError(f"--zdim must be at least 1, not {self.zdim}")
        if self.iterations < 1:
            raise InputError(f"--iterations must be at least 1, not {self.iterations}")
        if self.max_shell is not None and self.max_shell < 2:
            raise InputError(f"--max-shell must be at least 2, not {self.max_shell}")
        if not 0 < self.contrast_spread < 1:
            raise InputError(f"--contrast-spread lies between 0 and 1, not {self.contrast_spread}")

    @property
    def components(self) -> int:
        """How many components are fitted."""
        return self.zdim or AUTO_COMPONENTS

    def shell(self, box: int) -> int:
        """Return the outermost shell for a box."""
        return min(self.max_shell or DEFAULT_SHELL, (box - 1) // 2, box // 2 - 1)

    def check_support(self, count: int, of: str = "images") -> None:
        """Refuse more components than so many images, or particles, can hold apart.

        **Raises:** `InputError` with the largest number that they can.
        """
        most = count // IMAGES_PER_COMPONENT
        if self.components > most:
            raise InputError(
                f"{self.components} components are more than {count} {of} support: "
                f"use --zdim {most} at most"
                if most
                else f"{count} {of} are too few for any component: "
                f"give at least {IMAGES_PER_COMPONENT}"
            )


def config_from_dict(values: dict[str, Any]) -> SubspaceConfig:
    """Rebuild the settings of a run.

    **Raises:** `InputError` for a setting this version does not know.
    """
    unknown = sorted(set(values) - set(SubspaceConfig.__dataclass_fields__))
    if unknown:
        raise InputError(f"config.yaml: unknown setting {', '.join(unknown)}")
    values = dict(values)
    if "pose_spread" in values:
        values["pose_spread"] = tuple(values["pose_spread"])
    return SubspaceConfig(**values)

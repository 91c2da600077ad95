"""Settings of an ab initio fit."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from vitreous.errors import InputError
from vitreous.geometry.point_groups import point_group
from vitreous.methods.abinitio.amortised.config import AmortisedConfig
from vitreous.methods.abinitio.amortised.config import config_from_dict as amortised_from_dict

Strategy = Literal["auto", "amortized", "search"]


@dataclass(frozen=True)
class AbinitioConfig:
    """Hold every setting of a fit.

    **Fields:** `strategy`: `"search"` over all poses, an encoder that is trained to tell them
    (`"amortized"`), or one after the other (`"auto"`). `zdim`: latent dimensions; 0 for one map.
    `symmetry`: point group. `particle_diameter`: Å, None takes 62 % of the box, then what half maps
    show. `max_shift`: Å that particles lie off their centres, None a tenth of the box; 0: centred.
    `max_shell`: outermost shell, None all. `restarts`: random starts. `passes`: at most.
    `initial_map`: map file to begin with. `batch_size`: images scored at a time. `large`: images
    beyond which `"auto"` lets an encoder propose poses in place of a search through all of them.
    `amortised`: settings of the encoder. `seed`.
    """

    strategy: Strategy = "auto"
    zdim: int = 0
    symmetry: str = "C1"
    particle_diameter: float | None = None
    max_shift: float | None = None
    max_shell: int | None = None
    restarts: int = 3
    passes: int = 8
    initial_map: str | None = None
    batch_size: int = 64
    large: int = 20000
    amortised: AmortisedConfig = field(default_factory=AmortisedConfig)
    seed: int = 0

    def __post_init__(self) -> None:
        point_group(self.symmetry)
        if self.strategy not in ("auto", "amortized", "search"):
            raise InputError(f"--strategy {self.strategy}: auto, amortized or search")
        if self.zdim < 0:
            raise InputError(f"--zdim {self.zdim}: 0 for one map, or more")
        for name, least in (("restarts", 1), ("passes", 1), ("batch_size", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name} must be at least {least}, not {getattr(self, name)}")
        if self.max_shift is not None and self.max_shift < 0:
            raise InputError(f"--max-shift {self.max_shift}: cannot be negative")
        if self.max_shell is not None and self.max_shell < 4:
            raise InputError(f"--max-shell {self.max_shell}: at least 4 shells tell poses apart")
        if self.particle_diameter is not None and not self.particle_diameter > 0:
            raise InputError(f"--particle-diameter {self.particle_diameter}: must be positive")


def config_to_dict(config: AbinitioConfig) -> dict[str, Any]:
    """Return the settings as plain data."""
    return asdict(config)


def config_from_dict(values: dict[str, Any]) -> AbinitioConfig:
    """Rebuild the settings of a run.

    **Raises:** `InputError` for a setting this version does not know.
    """
    unknown = sorted(set(values) - set(AbinitioConfig.__dataclass_fields__))
    if unknown:
        raise InputError(f"config.yaml: unknown setting {', '.join(unknown)}")
    values = dict(values)
    if "amortised" in values:
        values["amortised"] = amortised_from_dict(values["amortised"])
    return AbinitioConfig(**values)

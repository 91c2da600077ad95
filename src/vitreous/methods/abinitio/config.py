"""Settings of an ab initio fit."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from vitreous.errors import InputError
from vitreous.geometry.point_groups import point_group
from vitreous.methods.abinitio.amortised.config import AmortisedConfig
from vitreous.methods.abinitio.amortised.config import config_from_dict as amortised_from_dict

# A search among fewer images finds nothing that an encoder could learn.
_LEAST_SEARCHED = 50

Strategy = Literal["auto", "amortized", "search"]


@dataclass(frozen=True)
class AbinitioConfig:
    """Hold every setting of a fit.

    **Fields:** `strategy`: `"search"` over all poses, an encoder that is trained to tell them
    (`"amortized"`), or one after the other (`"auto"`). `zdim`: latent dimensions; 0 for one map.
    `symmetry`: point group. `particle_diameter`: Å, None takes 62 % of the box, then what half maps
    show. `max_shift`: Å that particles lie off their centres, None a tenth of the box; 0: centred.
    `max_shell`: outermost shell, None all. `restarts`: random starts. `passes`: at most.
    `initial_map`: map file to begin with; `load`: run to begin with, its poses too if it is of the
    same images. `keep_map`: find poses of the map that is given, which stays as it is.
    `batch_size`: images scored at a time. `search_images`: most that `"auto"` searches through; of
    more, so many are searched, and an encoder that learns from them proposes poses of all.
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
    load: str | None = None
    keep_map: bool = False
    batch_size: int = 64
    search_images: int = 20000
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
        if self.search_images < _LEAST_SEARCHED:
            raise InputError(
                f"--search-images {self.search_images}: at least {_LEAST_SEARCHED} make a map"
            )
        if self.initial_map is not None and self.load is not None:
            raise InputError("--initial-map and --load: a fit begins with one of them")
        if self.keep_map and self.initial_map is None and self.load is None:
            raise InputError("--keep-map: give the map with --initial-map")
        if self.keep_map and self.zdim:
            raise InputError(
                "--keep-map finds poses for one map: leave --zdim out, and go on with "
                "vitreous train-subspace RUN/particles.star"
            )
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
    values = dict(values)
    if "large" in values:
        # An earlier name.
        values["search_images"] = values.pop("large")
    unknown = sorted(set(values) - set(AbinitioConfig.__dataclass_fields__))
    if unknown:
        raise InputError(f"config.yaml: unknown setting {', '.join(unknown)}")
    if "amortised" in values:
        values["amortised"] = amortised_from_dict(values["amortised"])
    return AbinitioConfig(**values)

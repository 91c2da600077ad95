"""Settings of a morph, and the set of them that repeats the peer."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from vitreous.errors import InputError
from vitreous.methods.morph.flow import Scheme
from vitreous.methods.morph.velocity import VelocityKind

# Sinkhorn iterations of the peer, one after the other; three symmetric ones do as much.
PEER_ITERATIONS = 5


@dataclass(frozen=True)
class MorphConfig:
    """Hold every setting of a fit (`benchmarks/morph.py` shows what the defaults reach).

    **Fields**, grouped: *field* `velocity`, `depth` and `width` of the perceptron,
    `control_points` of the spline a side, `is_time_dependent`, `symmetry`; *flow* `scheme`,
    `steps` (over the whole time). *Loss* `w2_eps` (least ε in squares of the box side, None: from
    the voxels), `w2_iter`, `use_l2`, `mu_mesh` (Å² for each unit of mean strain; None: a tenth
    of the finest voxel's square). *Work* `iterations`, `period`, `learning_rate` (None: 3e-3, a
    spline 3e-2, falling by a cosine), `binning`, `match_resolution`, `patience` (reports without a
    better half-map FSC before stopping), `seed`. `is_peer`: Euler in ten steps, plain transport
    from a cold start, constant rate, in the unit cube.
    """

    velocity: VelocityKind = "mlp"
    depth: int = 3
    width: int = 100
    control_points: int = 10
    is_time_dependent: bool = False
    symmetry: str = "C1"
    scheme: Scheme = "rk4"
    steps: int = 3
    w2_eps: float | None = None
    w2_iter: int = 3
    use_l2: bool = False
    mu_mesh: float | None = None
    iterations: int = 300
    period: int = 50
    learning_rate: float | None = None
    binning: int = 1
    match_resolution: bool = True
    patience: int = 3
    seed: int = 0
    is_peer: bool = False

    def __post_init__(self) -> None:
        least = {"iterations": 1, "period": 1, "width": 1, "binning": 1, "w2_iter": 1, "steps": 1}
        least |= {"depth": 2, "control_points": 4, "patience": 1}
        for name, smallest in least.items():
            if getattr(self, name) < smallest:
                option = {"iterations": "-n", "period": "-p", "binning": "-b"}.get(
                    name, f"--{name.replace('_', '-')}"
                )
                raise InputError(f"{option} must be at least {smallest}")
        for name in ("w2_eps", "learning_rate"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                option = {"w2_eps": "--w2-eps", "learning_rate": "--lr"}[name]
                raise InputError(f"{option} must be positive, not {value:g}")
        if self.mu_mesh is not None and self.mu_mesh < 0:
            raise InputError(f"--mu-mesh must not be negative, not {self.mu_mesh:g}")
        if self.is_peer and (self.velocity != "mlp" or self.is_time_dependent):
            raise InputError("--compat knows one velocity: a perceptron that does not change")
        if self.is_peer and self.symmetry.upper() != "C1":
            raise InputError("--compat has no symmetry; leave out --sym")

    @property
    def rate(self) -> float:
        """Peak learning rate."""
        if self.learning_rate is not None:
            return self.learning_rate
        if self.is_peer:
            return 1e-3
        return 3e-2 if self.velocity == "spline" else 3e-3

    def to_dict(self) -> dict[str, Any]:
        """Give plain values, for files."""
        return asdict(self)


def peer_settings(config: MorphConfig) -> MorphConfig:
    """Return the settings under which the fit and its frames are those of CryoTRANS."""
    return replace(
        config,
        is_peer=True,
        scheme="euler",
        steps=10,
        match_resolution=False,
        w2_eps=1e-4 if config.w2_eps is None else config.w2_eps,
        w2_iter=PEER_ITERATIONS if config.w2_iter == MorphConfig.w2_iter else config.w2_iter,
    )

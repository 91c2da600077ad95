"""A network that inverts a run's deformations, for those who want one: `y + δ⁻(y, z) = x`.

Back-projection does not need it, and `inverse.invert` finds the same to any precision. What a
network offers is one evaluation a point in place of several. No image is looked at: the field
itself says where every Gaussian goes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from vitreous.errors import InputError
from vitreous.files import atomic_path
from vitreous.methods.flexible.deformation import Deformation, make_deformation
from vitreous.methods.flexible.run_files import HalfModel
from vitreous.reconstruction.deformed import Displacement
from vitreous.training.checkpoint import fill_leaves, name_leaves
from vitreous.training.run import Run

FOLDER, FILE = "inverse_deformations", "inverse.npz"
# Points are jittered by so many Å, so that the inverse is learned between Gaussians too.
_JITTER = 5.0
_WARMUP = 0.05
# Steps of an epoch, at least, where images suffice: a small set in large batches is never learned.
_STEPS = 16


@dataclass(frozen=True)
class InverseOptions:
    """Say how the network is fitted.

    **Arguments:** `epochs`, `batch_size` (images; at most a
    sixteenth of them), `learning_rate` of Adam. `save_deformations`:
    keep where the Gaussians of all images lie in memory, `12 · images · Gaussians` bytes.
    `add_noise`: learn between the Gaussians too. `seed`.
    """

    epochs: int = 50
    batch_size: int = 128
    learning_rate: float = 2e-3
    save_deformations: bool = False
    add_noise: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for flag, value in (("n-epochs", self.epochs), ("batch-size", self.batch_size)):
            if value < 1:
                raise InputError(f"--{flag} must be at least 1, not {value}")


class InverseFit(NamedTuple):
    """Hold a fitted inverse. `error` and `motion` (Å): root mean squares at the Gaussians."""

    field: Deformation
    error: float
    motion: float


def fresh_inverse(half: HalfModel, seed: int = 0) -> Deformation:
    """Make an untrained inverse, of the size of what it inverts."""
    positions = np.asarray(half.gaussians.positions)
    radius = float(np.linalg.norm(positions, axis=1).max())
    some = jnp.asarray(half.latents[np.linspace(0, len(half.latents) - 1, 64).astype(int)])
    moved = np.asarray(half.deformation(half.gaussians.positions, some))
    reach = max(float(np.sqrt(np.mean(np.sum(moved**2, axis=-1)))), 0.1)
    zdim = half.latents.shape[1]
    return make_deformation("factorised", zdim, radius, reach, jax.random.key(seed))


def fit_inverse(
    half: HalfModel,
    options: InverseOptions,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> InverseFit:
    """Fit the inverse of a half's deformation.

    **Arguments:** `progress`: called with the epochs done and how many there are.
    """
    latents = jnp.asarray(half.latents)
    count = len(latents)
    batch = min(options.batch_size, max(1, count // _STEPS))
    steps = count // batch
    total = steps * options.epochs
    warm = max(1, int(_WARMUP * total))
    schedule = optax.warmup_cosine_decay_schedule(0.0, options.learning_rate, warm, total + 1)
    optimizer = optax.adam(schedule)
    inverse = fresh_inverse(half, options.seed)
    state = optimizer.init(eqx.filter(inverse, eqx.is_inexact_array))
    points = half.gaussians.positions
    kept = half.deformation(points, latents) if options.save_deformations else None
    rng = np.random.default_rng(options.seed)
    jitter = _JITTER if options.add_noise else 0.0
    run_epoch = eqx.filter_jit(partial(_epoch, optimizer=optimizer, jitter=jitter))
    for epoch in range(options.epochs):
        rows = jnp.asarray(rng.permutation(count)[: steps * batch].reshape(steps, batch))
        key = jax.random.key(options.seed * 1_000_003 + epoch)
        inverse, state = run_epoch(
            inverse, state, half.deformation, points, latents, kept, rows, key
        )
        progress(epoch + 1, options.epochs)
    return InverseFit(inverse, *_errors(inverse, half))


def _epoch(
    inverse: Deformation, state: Any, field: Displacement, points: Float[Array, "g 3"],
    latents: Float[Array, "n d"], kept: Float[Array, "n g 3"] | None, rows: Int[Array, "s b"],
    key: jax.Array, *, optimizer: optax.GradientTransformation, jitter: float,
) -> tuple[Deformation, Any]:  # fmt: skip
    """Take the steps of an epoch, on the device."""
    arrays, rest = eqx.partition(inverse, eqx.is_inexact_array)

    def misfit(arrays: Any, rows: Int[Array, " b"], key: jax.Array) -> Float[Array, ""]:
        z, origin = latents[rows], points
        if jitter > 0:
            # Noise is put on the consensus: what is asked for moves with what is given.
            origin = points + jitter * jax.random.normal(key, points.shape, points.dtype)
        moved = kept[rows] if kept is not None and jitter == 0 else field(origin, z)
        back = _at_own_points(eqx.combine(arrays, rest), origin[None] + moved, z)
        return jnp.mean(jnp.sum((back + moved) ** 2, axis=-1))

    def step(carried: tuple, given: tuple) -> tuple[tuple, None]:
        arrays, state = carried
        gradient = jax.grad(misfit)(arrays, *given)
        with jax.numpy_dtype_promotion("standard"):
            change, state = optimizer.update(gradient, state, arrays)
        return (eqx.apply_updates(arrays, change), state), None

    keys = jax.random.split(key, len(rows))
    (arrays, state), _ = jax.lax.scan(step, (arrays, state), (rows, keys))
    return eqx.combine(arrays, rest), state


def _at_own_points(
    field: Deformation, points: Float[Array, "b m 3"], z: Float[Array, "b d"]
) -> Float[Array, "b m 3"]:
    """Evaluate a field at other points in every image."""
    return jax.vmap(lambda p, one: field(p, one[None])[0])(points, z)


@eqx.filter_jit
def _off(inverse: Deformation, field: Displacement, points: Array, z: Array) -> tuple[Array, Array]:
    moved = field(points, z)
    back = _at_own_points(inverse, points[None] + moved, z)
    return jnp.mean(jnp.sum((back + moved) ** 2, axis=-1)), jnp.mean(jnp.sum(moved**2, axis=-1))


def _errors(inverse: Deformation, half: HalfModel) -> tuple[float, float]:
    some = half.latents[np.linspace(0, len(half.latents) - 1, 256).astype(int)]
    found = _off(inverse, half.deformation, half.gaussians.positions, jnp.asarray(some))
    error, motion = (float(np.sqrt(np.asarray(x))) for x in found)
    return error, motion


def save_inverses(run: Run, fits: tuple[InverseFit, InverseFit], seed: int) -> None:
    """Write both halves' networks to `inverse_deformations/inverse.npz` of their run."""
    arrays: dict[str, np.ndarray] = {"seed": np.asarray(seed)}
    for number, fit in enumerate(fits, 1):
        named = name_leaves(fit.field)
        arrays |= {f"half{number}.{name}": np.asarray(leaf) for name, leaf in named.items()}
    with atomic_path(run.path / FOLDER / FILE) as temporary:
        np.savez(temporary, **arrays)  # type: ignore[arg-type]


def load_inverse(run: Run, half: HalfModel, number: int) -> Deformation:
    """Read the network of a half, 0 or 1.

    **Raises:** `InputError` if none was fitted, or to another model.
    """
    path = run.path / FOLDER / FILE
    if not path.is_file():
        raise InputError(f"{path}: no inverse was fitted; vitreous optimize-inverse-deformations")
    with np.load(path, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    template = fresh_inverse(half, int(arrays.pop("seed")))
    return fill_leaves(template, arrays, f"half{number + 1}.")

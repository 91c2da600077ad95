"""Gaussians from a map: spread over its density, then fitted to it."""

import logging
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float
from scipy.spatial import cKDTree

from vitreous.errors import InputError
from vitreous.geometry.resample import resample
from vitreous.methods.flexible.gaussian_model import GaussianModel, draw_map

logger = logging.getLogger(__name__)

# Rounds in which seeds move to the middle of their density; steps of the fit, and the share of a
# logarithm (or of a Gaussian's width) that one of them may change.
_ROUNDS, _STEPS, _RATE = 8, 60, 0.05
# The fit looks at no more voxels along an axis than this, and works no longer than so many
# products of Gaussians and voxels.
_FIT_BOX, _FIT_WORK = 64, 4e12


def gaussians_from_map(
    volume: Float[np.ndarray, "n n n"],
    pixel_size: float,
    count: int,
    threshold: float | None = None,
    seed: int = 0,
    name: str = "the map",
) -> GaussianModel:
    """Describe a map by Gaussians.

    **Arguments:** `volume`: in units of prepared pixels. `threshold`: density that belongs to the
    particle; None chooses it. `name`: of the map, for complaints.

    **Raises:** `InputError` if fewer voxels than Gaussians reach the threshold.
    """
    level = density_threshold(volume) if threshold is None else threshold
    places = np.argwhere(volume > level)
    if len(places) < count:
        peak = float(volume.max())
        raise InputError(
            f"{name}: {len(places)} voxels lie above {level:.4g} (highest {peak:.4g}), fewer than "
            f"the {count} Gaussians asked for: lower --initial-threshold or --n-gaussians"
        )
    density = volume[tuple(places.T)].astype(np.float64)
    points = (places[:, ::-1] - len(volume) // 2) * pixel_size
    positions, share = _spread_over(points, density, count, np.random.default_rng(seed))
    spacing = (len(points) * pixel_size**3 / count) ** (1 / 3)
    # The voxels' own extent: a Gaussian of its cell's spread.
    width = np.full(count, max(0.45 * spacing, 0.4 * pixel_size))
    start = GaussianModel.of(positions, np.maximum(share, 1e-6 * share.mean()), width)
    return fit_to_map(start, volume, pixel_size)


def density_threshold(volume: Float[np.ndarray, "n n n"]) -> float:
    """Choose the density that belongs to a particle: the cut that splits the map best (Otsu)."""
    values = volume[volume > 0]
    if len(values) < 2:
        raise InputError("the map holds no positive density: nothing to lay Gaussians on")
    top = np.percentile(values, 99.9)
    counts, edges = np.histogram(np.minimum(values, top), 256)
    middle = 0.5 * (edges[1:] + edges[:-1])
    below = np.cumsum(counts)
    mass = np.cumsum(counts * middle)
    above = below[-1] - below
    between = (mass[-1] * below / below[-1] - mass) ** 2 / np.maximum(below * above, 1e-9)
    # Half of it: the flanks of what stands out belong to it, too.
    return float(0.5 * middle[int(np.argmax(between))])


def _spread_over(points, density, count, rng) -> tuple[np.ndarray, np.ndarray]:
    """Place seeds evenly by density; each gets the sum of the density nearest to it."""
    chosen = rng.choice(len(points), count, replace=False, p=density / density.sum())
    seeds = points[chosen].astype(np.float64)
    for _ in range(_ROUNDS):
        owner = cKDTree(seeds).query(points)[1]
        mass = np.bincount(owner, density, count)
        middle = [np.bincount(owner, density * points[:, i], count) for i in range(3)]
        held = mass > 0
        seeds[held] = (np.stack(middle, axis=1) / np.maximum(mass, 1e-30)[:, None])[held]
    return seeds, np.bincount(cKDTree(seeds).query(points)[1], density, count)


def fit_to_map(
    gaussians: GaussianModel, volume: Float[np.ndarray, "n n n"], pixel_size: float
) -> GaussianModel:
    """Improve places, amplitudes and widths against a map, by Adam on the squared difference."""
    box = len(volume)
    small = min(box, _FIT_BOX)
    target = jnp.asarray(volume, jnp.float32)
    if small < box:
        # Voxel values of a coarser grid add up to the same transform.
        target = resample(target, small, 3) * (box / small) ** 3
    step = pixel_size * box / small
    steps = int(np.clip(_FIT_WORK / (6 * len(gaussians) * small**3), 5, _STEPS))
    fitted, first, last = _fit(gaussians, target, step, steps)
    logger.info(
        "%d Gaussians of %.2f Å: they leave %.1f %% of the map's power unexplained (%.1f %% before "
        "the fit)",
        *(len(gaussians), float(jnp.median(fitted.width)), 100 * float(last), 100 * float(first)),
    )
    return fitted


@partial(jax.jit, static_argnames=("step", "steps"))
def _fit(
    start: GaussianModel, target: Float[Array, "n n n"], step: float, steps: int
) -> tuple[GaussianModel, Float[Array, ""], Float[Array, ""]]:
    box = target.shape[0]
    power = jnp.sum(target**2)
    rest = jnp.zeros_like(start.positions)

    def left(model: GaussianModel) -> Float[Array, ""]:
        return jnp.sum((draw_map(model, rest, box, step) - target) ** 2) / power

    adam = optax.scale_by_adam()
    rates = eqx.tree_at(
        lambda model: model.positions,
        jax.tree.map(jnp.ones_like, start),
        jnp.broadcast_to(start.width[:, None], start.positions.shape),
    )

    def body(carried, i):
        model, state = carried
        value, slope = jax.value_and_grad(left)(model)
        with jax.numpy_dtype_promotion("standard"):
            updates, state = adam.update(slope, state)
        speed = _RATE * (1 - i / steps)
        model = jax.tree.map(lambda x, u, r: x - speed * r * u, model, updates, rates)
        return (model, state), value

    moments = adam.init(start)
    (model, _), values = jax.lax.scan(body, (start, moments), jnp.arange(steps, dtype=jnp.float32))
    return model, values[0], left(model)

"""Search and refine how one Fourier transform of a map lies on another's.

All comparisons go shell by shell: with `c` the correlation of a shell's `n` numbers, the score
`−½ Σ n log(1 − c²)` is the log likelihood of one map given the other, whatever their amplitudes.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int

from vitreous.geometry.fourier import frequencies, half_space
from vitreous.geometry.hand import MIRROR
from vitreous.geometry.rotations import geodesic_distance, rotation_vector_to_matrix
from vitreous.geometry.shells import shell_sum
from vitreous.geometry.shift import phase_shift
from vitreous.geometry.so3_grid import so3_grid
from vitreous.imaging.fourier_grid import FourierGrid
from vitreous.imaging.slicing import sample_grid

# Detail of a sixth of the box, off by half of the 15° of grid order 2, is still half in place.
_COARSE_SHELLS, _GRID_ORDER, _SHIFT_GRID = 6, 2, 16
_KEPT, _APART, _BATCH = 6, 25.0, 64
# Interpolation alone makes the last digits of an agreement wrong.
_MOST_AGREEMENT = 0.999
# Degrees and voxels below which a step is not worth another look.
_SMALL_TURN, _SMALL_SHIFT = 1e-3, 1e-4


class Place(NamedTuple):
    """Say how the moving map lies: `x ↦ G J x + u`, `u` in voxels; score: higher is better."""

    rotation: Float[np.ndarray, "3 3"]
    shift: Float[np.ndarray, " 3"]
    is_mirrored: bool
    score: float = -np.inf

    @property
    def linear(self) -> Float[np.ndarray, "3 3"]:
        """`G J`: what is applied to points before the shift."""
        return self.rotation @ MIRROR if self.is_mirrored else self.rotation


class Points(NamedTuple):
    """Half-space points of a map, from shell 1 on in order of shell.

    **Fields:** `frequency`: cycles/box. `weight`: how often a point stands in the whole space.
    """

    frequency: Float[Array, "p 3"]
    shell: Int[Array, " p"]
    weight: Float[Array, " p"]
    values: Complex[Array, " p"]

    def up_to(self, last: int) -> "Points":
        """Keep the shells up to one."""
        count = int(np.searchsorted(np.asarray(self.shell), last, side="right"))
        return Points(*(part[:count] for part in self))

    @property
    def shells(self) -> int:
        """One more than the last shell."""
        return int(self.shell[-1]) + 1


def transform_points(volume: Float[np.ndarray, "n n n"]) -> Points:
    """Transform a map and list its points."""
    box = len(volume)
    k = frequencies(box, 3, half=True).reshape(-1, 3)
    shell = np.rint(np.linalg.norm(k, axis=1)).astype(np.int32)
    order = np.argsort(shell, kind="stable")
    order = order[(shell[order] > 0) & (shell[order] < box // 2)]
    weight = np.where(k[order, 0] > 0, 2, 1).astype(np.float32)
    values = half_space(jnp.asarray(volume)).reshape(-1)[order]
    return Points(jnp.asarray(k[order]), jnp.asarray(shell[order]), jnp.asarray(weight), values)


def moved_transform(
    grid: FourierGrid,
    frequency: Float[Array, "p 3"],
    linear: Float[Array, "*b 3 3"],
    shift: Float[Array, "*b 3"],
) -> Complex[Array, "*b p"]:
    """Transform the map under `x ↦ A x + u`: `A` rotates and may mirror, `u` in voxels."""
    # Written out: a matrix product could run in reduced precision on an accelerator.
    f = frequency.reshape(*(1,) * (linear.ndim - 2), *frequency.shape)
    x, y, z = (f[..., i : i + 1] * linear[..., None, i, :] for i in range(3))
    k = x + y + z
    values = sample_grid(grid, k * (grid.shape.box / grid.box))
    return values * phase_shift(frequency / grid.box, shift)


@partial(jax.jit, static_argnames="size")
def _best_shifts(grid: FourierGrid, linear, frequency, target, size: int):
    """Correlate at many rotations over a grid of shifts; return the best and where it is."""
    index = frequency.astype(jnp.int32)
    z, y, x = index[:, 2] % size, index[:, 1] % size, index[:, 0]

    def batch(linear):
        values = moved_transform(grid, frequency, linear, jnp.zeros((len(linear), 3)))
        # Σ F* M exp(−2πi k·u) over k, for all u, is the inverse transform of the conjugate.
        product = target[None] * values.conj()
        cube = jnp.zeros((len(linear), size, size, size // 2 + 1), product.dtype)
        cube = cube.at[:, z, y, x].set(product)
        found = jnp.fft.irfftn(cube, s=(size, size, size), axes=(-3, -2, -1))
        found = found.reshape(len(linear), -1)
        return jnp.max(found, axis=-1), jnp.argmax(found, axis=-1)

    best, place = jax.lax.map(batch, linear.reshape(-1, _BATCH, 3, 3))
    return best.reshape(-1), place.reshape(-1)


def search_places(grid: FourierGrid, points: Points, is_mirrored: bool) -> list[Place]:
    """Compare all rotations of a 15° grid and all shifts over the first shells.

    **Returns:** the best places, no two of them alike.
    """
    few = points.up_to(min(_COARSE_SHELLS, points.shells - 1))
    power = shell_sum(few.weight * jnp.abs(few.values) ** 2, few.shell, few.shells)[few.shell]
    # Shells count by their radius, not by their voxels: else the outermost would decide alone.
    target = few.values * (few.weight / jnp.maximum(power, 1e-30)).astype(few.values.dtype)
    rotations = so3_grid(_GRID_ORDER)
    linear = rotations @ MIRROR.astype(np.float32) if is_mirrored else rotations
    found = _best_shifts(grid, jnp.asarray(linear), few.frequency, target, _SHIFT_GRID)
    score, place = (np.array(part) for part in found)
    z, y, x = np.unravel_index(place, (_SHIFT_GRID,) * 3)
    shift = np.stack([x, y, z], axis=-1) * (grid.box / _SHIFT_GRID)
    shift = (shift + grid.box / 2) % grid.box - grid.box / 2
    kept = []
    for _ in range(_KEPT):
        best = int(score.argmax())
        kept.append(Place(rotations[best].astype(np.float64), shift[best], is_mirrored))
        score[geodesic_distance(rotations, rotations[best][None]) < _APART] = -np.inf
    return kept


@partial(jax.jit, static_argnames="shells")
def _compare(grid: FourierGrid, points: Points, linear, shift, shells: int):
    """Return score, correlation, and the gradient and matrix of a Gauss–Newton step."""

    def by_shell(values):
        return shell_sum(points.weight * values, points.shell, shells)

    def spread(values):
        return jnp.maximum(values, 1e-12 * jnp.max(values))

    moved = moved_transform(grid, points.frequency, linear, shift)
    cross = by_shell((points.values.conj() * moved).real)
    own, other = (spread(by_shell(jnp.abs(v) ** 2)) for v in (points.values, moved))
    agreement = jnp.clip(cross / jnp.sqrt(own * other), 0.0, _MOST_AGREEMENT)
    count = by_shell(jnp.ones_like(points.weight))
    score = -0.5 * jnp.sum(count * jnp.log1p(-(agreement**2)))
    correlation = jnp.sum(cross) / jnp.sqrt(jnp.sum(own) * jnp.sum(other))

    def at_points(values):
        return values[points.shell]

    # A shell of the fixed map is taken as c times the moving one, plus noise of 1 − c².
    scale = at_points(agreement * jnp.sqrt(own / other))
    precision = points.weight * at_points(count / own / (1 - agreement**2))
    root = jnp.sqrt(precision)

    def residual(step):
        turn = rotation_vector_to_matrix(step[:3])
        turned = jnp.einsum("ij,jk->ik", turn, linear, precision="highest")
        here = moved_transform(grid, points.frequency, turned, shift + step[3:])
        real = (points.values.real - scale * here.real) * root
        return jnp.stack([real, (points.values.imag - scale * here.imag) * root])

    error, slope = residual(jnp.zeros(6)), jax.jacfwd(residual)(jnp.zeros(6))
    gradient = jnp.einsum("cpi,cp->i", slope, error, precision="highest")
    matrix = jnp.einsum("cpi,cpj->ij", slope, slope, precision="highest")
    return score, correlation, gradient, matrix


def refine_place(
    grid: FourierGrid, points: Points, start: Place, steps: int
) -> tuple[Place, float]:
    """Take damped Gauss–Newton steps from a place; return where they lead and the correlation."""
    best, trial, correlation = start, start, 0.0
    gradient, matrix, damping = np.zeros(6), np.eye(6), 1e-3
    for _ in range(steps + 1):
        compared = _compare(
            grid,
            points,
            jnp.asarray(trial.linear, jnp.float32),
            jnp.asarray(trial.shift, jnp.float32),
            points.shells,
        )
        score = float(compared[0])
        if score > best.score or (best is start and trial is start):
            best, correlation = trial._replace(score=score), float(compared[1])
            gradient, matrix = (np.asarray(part, np.float64) for part in compared[2:])
            damping = max(damping / 10, 1e-6)
        else:
            damping *= 30
        step = -np.linalg.solve(matrix + damping * np.diag(np.diag(matrix)), gradient)
        if np.abs(step[:3]).max() < _SMALL_TURN and np.abs(step[3:]).max() < _SMALL_SHIFT:
            break
        turn = rotation_vector_to_matrix(step[:3])
        trial = best._replace(rotation=turn @ best.rotation, shift=best.shift + step[3:])
    return best, correlation

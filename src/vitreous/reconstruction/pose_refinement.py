"""Poses improved image by image: damped Gauss–Newton steps in the tangent space of the pose.

A step of five numbers, `R ← exp([ω]×) R` and `t ← t + τ`, solves the normal equations of the
whitened residual. They are scale-free: no learning rate, the same for one image as for millions.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float, Int, Key

from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.geometry.rotations import rotation_vector_to_matrix
from vitreous.geometry.small_matrices import cholesky, solve_lower_transposed, solve_positive
from vitreous.imaging.fourier_grid import FourierGrid
from vitreous.imaging.slicing import rotated_frequencies, sample_grid
from vitreous.reconstruction.weighed import Weighed, shift_phases

# A step is cut to this many degrees and pixels: linearisation is not trusted further.
MAX_TURN, MAX_MOVE = 6.0, 1.5
DAMPING = 0.1

# (rotation (m, 3, 3), which (m,)) → slices (m, p) and their derivatives (m, p, 3) by ω in radians.
Predictor = Callable[
    [Float[Array, "m 3 3"], Int[Array, " m"]], tuple[Complex[Array, "m p"], Complex[Array, "m p 3"]]
]


Number = Float[Array, ""] | float


class Poses(NamedTuple):
    """Hold several poses an image: `rotation`, `shift` (pixels), `state` (which reference), and
    the log likelihood ratio `score` of each."""

    rotation: Float[Array, "b c 3 3"]
    shift: Float[Array, "b c 2"]
    state: Int[Array, "b c"]
    score: Float[Array, "b c"]

    def best(self, count: int) -> "Poses":
        """Keep the `count` poses of highest score, best first."""
        score, place = jax.lax.top_k(self.score, count)
        return Poses(
            jnp.take_along_axis(self.rotation, place[..., None, None], axis=1),
            jnp.take_along_axis(self.shift, place[..., None], axis=1),
            jnp.take_along_axis(self.state, place, axis=1),
            score,
        )


class Refined(NamedTuple):
    """Hold poses and the information about each: the inverse of `normal` is the covariance of
    `(ωx, ωy, ωz, tx, ty)`, radians and pixels."""

    poses: Poses
    normal: Float[Array, "b c 5 5"]

    def best(self, count: int) -> "Refined":
        """Keep the `count` poses of highest score, best first."""
        _, place = jax.lax.top_k(self.poses.score, count)
        normal = jnp.take_along_axis(self.normal, place[..., None, None], axis=1)
        return Refined(self.poses.best(count), normal)


def draw_poses(refined: Refined, key: Key[Array, ""], count: int) -> Poses:
    """Draw poses from the posterior: a mixture of one Gaussian a pose, weighed by likelihood.

    **Arguments:** `count`: draws an image, `score` of which is 0.
    """
    b = len(refined.poses.score)
    which, where = jax.random.split(key)
    # Laplace: the evidence of a peak is its height times the volume of its covariance.
    factor = cholesky(refined.normal + 1e-6 * jnp.eye(5)[None, None])
    sharpness = jnp.sum(jnp.log(jnp.diagonal(factor, axis1=-2, axis2=-1)), axis=-1)
    mass = refined.poses.score - sharpness
    pick = jax.random.categorical(which, mass[:, None], axis=-1, shape=(b, count))
    noise = jax.random.normal(where, (b, count, 5, 1))
    chosen = jnp.take_along_axis(factor, pick[..., None, None], axis=1)
    off = _cut(solve_lower_transposed(chosen, noise)[..., 0])
    turn = rotation_vector_to_matrix(jnp.rad2deg(off[..., :3]))
    rotation = jnp.take_along_axis(refined.poses.rotation, pick[..., None, None], axis=1)
    shift = jnp.take_along_axis(refined.poses.shift, pick[..., None], axis=1)
    return Poses(
        jnp.einsum("bcij,bcjk->bcik", turn, rotation, precision="highest"),
        shift + off[..., 3:],
        jnp.take_along_axis(refined.poses.state, pick, axis=1),
        jnp.zeros((b, count)),
    )


def grid_predictor(grid: FourierGrid, pixels: FourierPixels, count: int) -> Predictor:
    """Predict slices of a grid (of several volumes, by state) and how they change with the pose."""
    k = jnp.asarray(pixels.frequency[:count]) * np.float32(grid.shape.box / grid.box)
    k3 = jnp.concatenate([k, jnp.zeros_like(k[:, :1])], axis=-1)
    # Rᵀ exp([ω]×)ᵀ k = Rᵀ (k + k × ω) to first order.
    turned = jnp.cross(k3[:, None], jnp.eye(3)[None])

    def predict(rotation, state):
        coordinates = rotated_frequencies(rotation, k)
        tangents = jnp.einsum("mij,pai->ampj", rotation, turned, precision="highest")

        def read(at):
            return sample_grid(grid, at, state)

        value, along = jax.linearize(read, coordinates)
        return value, jnp.stack([along(tangents[a]) for a in range(3)], axis=-1)

    return predict


# (rotation (m, 3, 3), latent (m, d)) → slices (m, p), and their derivatives by ω (m, p, 3) and by
# the latent (m, p, d).
LandscapePredictor = Callable[
    [Float[Array, "m 3 3"], Float[Array, "m d"]],
    tuple[Complex[Array, "m p"], Complex[Array, "m p 3"], Complex[Array, "m p d"]],
]


def landscape_predictor(
    grid: FourierGrid, components: int, pixels: FourierPixels, count: int
) -> LandscapePredictor:
    """Predict slices of a mean volume plus components, each as much as the latent says.

    **Arguments:** `grid`: of all volumes, the mean first. `components`: how many follow it.
    """
    inner = grid_predictor(grid, pixels, count)
    k = components + 1

    def predict(rotation, latent):
        m = len(rotation)
        value, slope = inner(jnp.repeat(rotation, k, axis=0), jnp.tile(jnp.arange(k), m))
        value, slope = value.reshape(m, k, -1), slope.reshape(m, k, -1, 3)
        share = latent.astype(value.dtype)
        return (
            value[:, 0] + jnp.einsum("md,mdp->mp", share, value[:, 1:], precision="highest"),
            slope[:, 0] + jnp.einsum("md,mdpa->mpa", share, slope[:, 1:], precision="highest"),
            jnp.moveaxis(value[:, 1:], 1, -1),
        )

    return predict


def slice_predictor(
    slices: Callable[[Float[Array, "m 3 3"]], Complex[Array, "m p"]],
) -> Predictor:
    """Predict by any function of rotations that can be differentiated, such as a neural field.

    **Arguments:** `slices`: knows by itself which volume each row shows.
    """

    def predict(rotation, state):
        def turned(turn):
            moved = rotation_vector_to_matrix(jnp.rad2deg(turn))
            return slices(jnp.einsum("mij,mjk->mik", moved, rotation, precision="highest"))

        value, along = jax.linearize(turned, jnp.zeros((len(rotation), 3)))
        axes = jnp.broadcast_to(jnp.eye(3)[:, None], (3, len(rotation), 3))
        return value, jnp.stack([along(axis) for axis in axes], axis=-1)

    return predict


def likelihood_scores(
    weighed: Weighed,
    slices: Complex[Array, "b c p"],
    shift: Float[Array, "b c 2"],
    pixels: FourierPixels,
) -> Float[Array, "b c"]:
    """Return the log likelihood ratio of predicted slices against empty images."""
    moved = weighed.data[:, None] * shift_phases(shift, pixels, slices.shape[-1])
    cross = slices.real * moved.real + slices.imag * moved.imag
    square = slices.real**2 + slices.imag**2
    return jnp.sum(cross - 0.5 * weighed.power[:, None] * square, axis=-1)


class Equations(NamedTuple):
    """Hold log likelihood ratio, normal matrix and gradient by `(ωx, ωy, ωz, tx, ty)`, radians
    and pixels, of images at poses; then by what else the slices depend on."""

    likelihood: Float[Array, "b c"]
    normal: Float[Array, "b c m m"]
    gradient: Float[Array, "b c m"]


def normal_equations(
    value: Complex[Array, "b c p"],
    slope: Complex[Array, "b c p 3"],
    weighed: Weighed,
    shift: Float[Array, "b c 2"],
    pixels: FourierPixels,
    along: Complex[Array, "b c p d"] | None = None,
) -> Equations:
    """Linearise the whitened residual about poses.

    **Arguments:** `value`, `slope`: slices there, and their derivatives by ω. `along`: by others.
    """
    count = value.shape[-1]
    k = (2 * np.pi / pixels.box) * np.asarray(pixels.frequency[:count], np.float32)
    moved = weighed.data[:, None] * shift_phases(shift, pixels, count)
    power = weighed.power[:, None]
    likelihood = jnp.sum(
        value.real * (moved.real - 0.5 * power * value.real)
        + value.imag * (moved.imag - 0.5 * power * value.imag),
        axis=-1,
    )
    left = moved - power.astype(moved.dtype) * value
    # ∂/∂t of the predicted image `F e^{−2πi k·t}`, seen in the frame of the centred data.
    slide = value[..., None] * jax.lax.complex(jnp.zeros_like(k), -k)[None, None]
    others = () if along is None else (along,)
    slopes = jnp.concatenate([slope, slide, *others], axis=-1)
    both = jnp.concatenate([slopes.real, slopes.imag], axis=-2)
    right = jnp.concatenate([left.real, left.imag], axis=-1)
    twice = jnp.concatenate([power, power], axis=-1)[..., None]
    normal = jnp.einsum("bcpi,bcpj->bcij", both * twice, both, precision="highest")
    gradient = jnp.einsum("bcpi,bcp->bci", both, right, precision="highest")
    return Equations(likelihood, normal, gradient)


def refine_poses(
    predict: Predictor,
    weighed: Weighed,
    poses: Poses,
    pixels: FourierPixels,
    steps: int | Int[Array, ""],
    prior: tuple[Number, Number] | None = None,
    gone: Float[Array, "b c 5"] | None = None,
) -> Refined:
    """Take Gauss–Newton steps from every pose; each keeps the best place it saw.

    **Arguments:** `predict`: see `grid_predictor`. `weighed`: images, as many pixels as `predict`
    gives. `poses`: their scores are not used. `steps`: each costs a slice and its derivatives; a
    step that lowers the score is undone and damped more. `prior`: standard deviations (degrees,
    pixels) that hold poses near where they began. `gone`: how far they have come from there by
    earlier calls, radians and pixels.

    **Returns:** poses with scores, in the order they came in, and how sharply they are known.
    """
    b, c = poses.score.shape
    count = weighed.data.shape[-1]
    state = poses.state.reshape(-1)
    held = jnp.zeros(5)
    if prior is not None:
        turn, move = (jnp.asarray(spread, jnp.float32) for spread in prior)
        held = jnp.concatenate([jnp.full(3, jnp.deg2rad(turn) ** -2), jnp.full(2, move**-2)])

    def body(_, tried: _Tried) -> _Tried:
        value, slope = predict(tried.rotation.reshape(-1, 3, 3), state)
        value, slope = value.reshape(b, c, count), slope.reshape(b, c, count, 3)
        seen = normal_equations(value, slope, weighed, tried.shift, pixels)
        score = seen.likelihood - 0.5 * jnp.sum(held[None, None] * tried.gone**2, axis=-1)
        here = _Place(
            Poses(tried.rotation, tried.shift, poses.state, score),
            tried.gone,
            seen.normal + jnp.diag(held)[None, None],
            seen.gradient - held[None, None] * tried.gone,
        )
        better = score > tried.best.poses.score
        damping = jnp.clip(jnp.where(better, 0.3, 6.0) * tried.damping, 1e-3, 1e3)
        best = jax.tree.map(lambda new, old: _where(better, new, old), here, tried.best)
        step = damped_step(best.normal, best.gradient, damping)
        turn = rotation_vector_to_matrix(jnp.rad2deg(step[..., :3]))
        rotation = jnp.einsum("bcij,bcjk->bcik", turn, best.poses.rotation, precision="highest")
        return _Tried(rotation, best.poses.shift + step[..., 3:], best.gone + step, best, damping)

    still = jnp.zeros((b, c, 5))
    begun = still if gone is None else gone
    first = _Place(
        poses._replace(score=jnp.full_like(poses.score, -jnp.inf)),
        begun,
        jnp.broadcast_to(jnp.eye(5), (b, c, 5, 5)),
        still,
    )
    start = _Tried(poses.rotation, poses.shift, begun, first, jnp.full((b, c), DAMPING))
    best = jax.lax.fori_loop(0, steps, body, start).best
    return Refined(best.poses, best.normal)


class _Place(NamedTuple):
    """Poses, how far they have gone from their start, and the normal equations there."""

    poses: Poses
    gone: Float[Array, "b c 5"]
    normal: Float[Array, "b c 5 5"]
    gradient: Float[Array, "b c 5"]


class _Tried(NamedTuple):
    """What a step carries: where to look next, the best place so far, the damping."""

    rotation: Float[Array, "b c 3 3"]
    shift: Float[Array, "b c 2"]
    gone: Float[Array, "b c 5"]
    best: _Place
    damping: Float[Array, "b c"]


def _where(better: Bool[Array, "b c"], new: Array, old: Array) -> Array:
    return jnp.where(better.reshape(*better.shape, *(1,) * (new.ndim - 2)), new, old)


def damped_step(
    normal: Float[Array, "*b m m"],
    gradient: Float[Array, "*b m"],
    damping: Float[Array, "*b"],
    uncut: int = 0,
) -> Float[Array, "*b m"]:
    """Solve with a ridge in proportion to the diagonal, and cut what goes too far.

    **Arguments:** three turns come first, then moves, then `uncut` others.
    """
    scale = jnp.diagonal(normal, axis1=-2, axis2=-1)
    ridge = damping[..., None] * scale + 1e-6 * jnp.max(scale, axis=-1, keepdims=True) + 1e-12
    eye = jnp.broadcast_to(jnp.eye(normal.shape[-1]), normal.shape)
    normal = normal + ridge[..., None] * eye
    step = solve_positive(normal, gradient[..., None])[..., 0]
    last = step.shape[-1] - uncut
    return jnp.concatenate([_cut(step[..., :last]), step[..., last:]], axis=-1)


def _cut(step: Float[Array, "*b m"]) -> Float[Array, "*b m"]:
    turn, move = step[..., :3], step[..., 3:]
    angle = jnp.linalg.norm(turn, axis=-1, keepdims=True)
    length = jnp.linalg.norm(move, axis=-1, keepdims=True)
    turn = turn * jnp.minimum(1, np.deg2rad(MAX_TURN).item() / jnp.maximum(angle, 1e-9))
    move = move * jnp.minimum(1, MAX_MOVE / jnp.maximum(length, 1e-9))
    return jnp.concatenate([turn, move], axis=-1)

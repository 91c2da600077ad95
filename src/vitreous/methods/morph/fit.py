"""Fit a flow: full-batch Adam, level after level, with reports, validation and a polite stop."""

from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from vitreous.geometry.point_groups import point_group
from vitreous.methods.morph.config import MorphConfig
from vitreous.methods.morph.course import Course, FitResult, Report
from vitreous.methods.morph.levels import Level
from vitreous.methods.morph.objective import Data, Distance, Setting, objective
from vitreous.methods.morph.prepare import Problem
from vitreous.methods.morph.velocity import Velocity, new_mlp, new_spline, symmetrise
from vitreous.methods.morph.weights import Flow
from vitreous.training.schedules import warmup_decay
from vitreous.training.signals import stop_on_signal

# Squares of the finest voxel: one unit of mean strain, and of volume turned inside out.
_STRAIN, _BARRIER = 0.1, 1.0
# Share of a level's steps over which ε falls.
_ANNEAL = 0.4


def start_velocity(problem: Problem, config: MorphConfig) -> Velocity:
    """Make the field a fit starts from: nearly at rest."""
    if config.velocity == "spline":
        knots = len(problem.targets) + 1 if config.is_time_dependent else 1
        base: Any = new_spline(config.control_points, problem.centre, problem.extent, knots)
    else:
        base = new_mlp(
            jax.random.key(config.seed), config.depth, config.width, problem.centre,
            problem.extent, config.is_time_dependent, config.is_peer,
        )  # fmt: skip
    return symmetrise(base, point_group(config.symmetry), problem.pivot)


def fit_morph(
    problem: Problem,
    config: MorphConfig,
    start: Velocity | None = None,
    on_report: Callable[[Report], None] | None = None,
    validate: Callable[[Flow], float] | None = None,
) -> FitResult:
    """Fit a flow to a problem.

    **Arguments:** `start`: a field to go on from. `on_report`: called before the first step,
    every `period` steps and at the end. `validate`: scores a flow, higher is better, by data the
    fit does not see; the fit then ends when the score has not risen for `patience` reports on
    the finest level, and gives the best.

    **Raises:** `InputError` if the loss is no longer a number.
    """
    velocity = start_velocity(problem, config) if start is None else start
    moments = optax.scale_by_adam().init(eqx.filter(velocity, eqx.is_array))

    def as_flow(v: Velocity) -> Flow:
        return Flow(v, config.scheme, config.steps, config.symmetry, config.is_peer)

    finest = problem.levels[-1]
    course = Course(config, as_flow(velocity), problem.levels[0].voxel, on_report, validate)
    done = 0
    with stop_on_signal() as request:
        for level in problem.levels:
            data, setting = _compose(level, problem, config)
            plan = _Plan(config, done, level)
            end = done + level.steps
            while done < end:
                stop = min(end, course.next_report)
                velocity, moments, losses, values = _run(
                    velocity, moments, data, plan.bounds(done, stop), setting, config.period,
                    plan.schedule,
                )  # fmt: skip
                course.collect(np.asarray(losses)[: stop - done], values, done)
                done = stop
                if done == config.iterations and not request:
                    break
                if done == course.next_report or request:
                    flow = as_flow(velocity)
                    if course.report(flow, done, level.voxel, level is finest) or request:
                        return course.end(flow, done, bool(request))
    # The loss of the last state: one step more, not taken.
    _, _, losses, values = _run(
        velocity, moments, data, plan.bounds(done, done + 1), setting, config.period, plan.schedule
    )
    course.collect(np.asarray(losses)[:1], values, done)
    course.report(as_flow(velocity), done, finest.voxel, True)
    return course.end(as_flow(velocity), done)


def _compose(level: Level, problem: Problem, config: MorphConfig) -> tuple[Data, Setting]:
    """Turn a level into what the compiled step takes."""
    distance: Distance = "squares" if config.use_l2 else "transport"
    if config.is_peer:
        distance = "peer squares" if config.use_l2 else "peer transport"
    side = problem.mesh.side
    if config.is_peer:
        # The peer's points feel n times less of the data than the true derivative.
        strain = (config.mu_mesh or 0.0) * max(level.targets.shape[1:])
        barrier = 0.0
    else:
        unit = 1.0 if config.use_l2 else problem.levels[-1].voxel ** 2
        strain = _STRAIN * unit if config.mu_mesh is None else config.mu_mesh
        barrier = _BARRIER * unit
    data = Data(
        jnp.asarray(level.points), jnp.asarray(level.mass), jnp.asarray(level.targets),
        jnp.asarray(problem.mesh.vertices), jnp.asarray(problem.mesh.cells),
    )  # fmt: skip
    setting = Setting(
        distance, level.voxel, level.origin, config.w2_iter, level.reach, config.scheme,
        config.steps, strain, barrier, side,
    )  # fmt: skip
    return data, setting


class _Plan:
    """Place a level's steps in the whole fit: learning rate and ε of each."""

    def __init__(self, config: MorphConfig, first: int, level: Level) -> None:
        self.schedule = (config.rate, 0.0 if config.is_peer else 0.05, not config.is_peer)
        # A short fit leaves a level no steps, yet its last state is measured on it.
        self._fixed = (first, max(level.steps, 1), config.iterations)
        self._epsilon = level.epsilon

    def bounds(self, start: int, stop: int) -> dict[str, jax.Array]:
        """Give the numbers that change from block to block, none of which recompiles."""
        first, steps, total = self._fixed
        names = {"start": start, "stop": stop, "first": first, "steps": steps, "total": total}
        numbers = {name: jnp.float32(value) for name, value in names.items()}
        low, high = self._epsilon
        return numbers | {"epsilon_first": jnp.float32(low), "epsilon_last": jnp.float32(high)}


@partial(jax.jit, static_argnames=("setting", "period", "schedule"))
def _run(velocity, moments, data, bounds, setting, period, schedule):
    """Take the steps from `start` to `stop`, at most `period` of them, in one compiled loop."""
    peak, warmup, is_falling = schedule
    optimiser = optax.scale_by_adam()

    def one(i, state):
        velocity, moments, losses, _ = state
        step = bounds["start"] + i.astype(jnp.float32)
        share = jnp.clip((step - bounds["first"]) / (_ANNEAL * bounds["steps"]), 0, 1)
        ratio = bounds["epsilon_last"] / bounds["epsilon_first"]
        epsilon = bounds["epsilon_first"] * ratio**share
        rate = warmup_decay(
            (step + 1) / bounds["total"], peak, warmup=warmup,
            decay="cosine" if is_falling else "constant", final=0.01,
        )  # fmt: skip
        gradient, values = jax.grad(objective, has_aux=True)(velocity, data, epsilon, setting)
        # optax counts steps in integers and multiplies them with floats.
        with jax.numpy_dtype_promotion("standard"):
            update, moments = optimiser.update(gradient, moments)
        velocity = jax.tree.map(lambda p, u: p - rate * u, velocity, update)
        return velocity, moments, losses.at[i].set(values["loss"]), values

    names = ("loss", "distance", "strain", "barrier")
    start = (velocity, moments, jnp.zeros(period), {name: jnp.zeros(()) for name in names})
    count = (bounds["stop"] - bounds["start"]).astype(jnp.int32)
    return jax.lax.fori_loop(0, count, one, start)

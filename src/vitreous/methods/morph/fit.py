"""Fit a flow: full-batch Adam, level after level, with reports, validation and a polite stop."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from vitreous.errors import InputError
from vitreous.geometry.point_groups import point_group
from vitreous.methods.morph.config import MorphConfig
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


@dataclass
class Report:
    """Tell where a fit stands.

    `number` counts reports from 0, before the first step; `losses` are those since the last one;
    `score` is the validation's, None without one.
    """

    number: int
    iteration: int
    flow: Flow
    losses: list[float]
    values: dict[str, float]
    voxel: float
    score: float | None = None


@dataclass
class FitResult:
    """Hold what a fit found: the flow (the best by validation, else the last) and its course."""

    flow: Flow
    losses: list[float] = field(default_factory=list)
    iterations: int = 0
    best_iteration: int = 0
    scores: list[tuple[int, float]] = field(default_factory=list)
    values: dict[str, float] = field(default_factory=dict)
    was_stopped: bool = False


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
    optimiser = optax.scale_by_adam()
    moments = optimiser.init(eqx.filter(velocity, eqx.is_array))

    def as_flow(v: Velocity) -> Flow:
        return Flow(v, config.scheme, config.steps, config.symmetry, config.is_peer)

    result = FitResult(as_flow(velocity))
    best, waited, done = -np.inf, 0, 0

    def report(number, losses, values, voxel, is_finest) -> bool:
        """Report, keep the best, and say whether to stop."""
        nonlocal best, waited
        score = None if validate is None else validate(as_flow(velocity))
        if on_report is not None:
            on_report(Report(number, done, as_flow(velocity), losses, values, voxel, score))
        if score is None:
            return False
        result.scores.append((done, score))
        if score > best + 1e-4:
            best, waited = score, 0
            result.flow, result.best_iteration = as_flow(velocity), done
        elif is_finest:
            waited += 1
        return waited >= config.patience

    report(0, [], {}, problem.levels[0].voxel, False)
    number, pending = 1, []
    with stop_on_signal() as request:
        for level in problem.levels:
            is_finest = level is problem.levels[-1]
            data, setting = _compose(level, problem, config)
            plan = _Plan(config, done, level)
            end = done + level.steps
            while done < end:
                stop = min(end, number * config.period)
                velocity, moments, losses, values = _run(
                    velocity, moments, data, plan.bounds(done, stop), setting, config.period,
                    plan.schedule,
                )  # fmt: skip
                fresh = [float(v) for v in np.asarray(losses)[: stop - done]]
                if not np.isfinite(fresh).all():
                    raise InputError(
                        f"the loss is no longer a number after iteration {done}; lower --lr"
                    )
                pending += fresh
                done = stop
                result.values = {name: float(v) for name, v in values.items()}
                if done == config.iterations and not request:
                    break
                if done == number * config.period or request:
                    result.losses += pending
                    ready = report(number, pending, result.values, level.voxel, is_finest)
                    number, pending = number + 1, []
                    if ready or request:
                        result.was_stopped = bool(request)
                        result.iterations = done
                        if validate is None:
                            result.flow, result.best_iteration = as_flow(velocity), done
                        return result
    # The loss of the last state: one step more, not taken.
    _, _, losses, values = _run(
        velocity, moments, data, plan.bounds(done, done + 1), setting, config.period, plan.schedule
    )
    result.values = {name: float(v) for name, v in values.items()}
    pending.append(float(losses[0]))
    result.losses += pending
    result.iterations = done
    report(number, pending, result.values, level.voxel, True)
    if validate is None:
        result.flow, result.best_iteration = as_flow(velocity), done
    return result


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
        self._fixed = (first, level.steps, config.iterations)
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

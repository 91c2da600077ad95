"""The course of a fit: its losses, its reports, the best flow so far and whether to go on."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from vitreous.errors import InputError
from vitreous.methods.morph.config import MorphConfig
from vitreous.methods.morph.weights import Flow

# A score that rises by less than this has not risen.
_LEAST_GAIN = 1e-4


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


class Course:
    """Follow a fit: collect losses, report every `period` steps, and keep the best flow.

    **Arguments:** `start`: the flow before the first step, which is reported at once. `validate`:
    scores a flow, higher is better.
    """

    def __init__(
        self,
        config: MorphConfig,
        start: Flow,
        voxel: float,
        on_report: Callable[[Report], None] | None,
        validate: Callable[[Flow], float] | None,
    ) -> None:
        self._config, self._on_report, self._validate = config, on_report, validate
        self._result = FitResult(start)
        self._best, self._waited, self._number = -np.inf, 0, 0
        self._pending: list[float] = []
        self.report(start, 0, voxel)

    @property
    def next_report(self) -> int:
        """Iteration at which a report is due."""
        return self._number * self._config.period

    def collect(self, losses: np.ndarray, values: dict, done: int) -> None:
        """Take the losses of some steps and the values of the last, `done` steps before them.

        **Raises:** `InputError` if a loss is no number.
        """
        if not np.isfinite(losses).all():
            raise InputError(f"the loss is no longer a number after iteration {done}; lower --lr")
        self._pending += losses.tolist()
        self._result.values = {name: float(value) for name, value in values.items()}

    def report(self, flow: Flow, done: int, voxel: float, is_finest: bool = False) -> bool:
        """Report, and say whether patience is at its end, which counts on the finest level."""
        result, losses, self._pending = self._result, self._pending, []
        result.losses += losses
        score = None if self._validate is None else self._validate(flow)
        if self._on_report is not None:
            values = result.values
            self._on_report(Report(self._number, done, flow, losses, values, voxel, score))
        self._number += 1
        if score is None:
            return False
        result.scores.append((done, score))
        if score > self._best + _LEAST_GAIN:
            self._best, self._waited = score, 0
            result.flow, result.best_iteration = flow, done
        elif is_finest:
            self._waited += 1
        return self._waited >= self._config.patience

    def end(self, flow: Flow, done: int, was_stopped: bool = False) -> FitResult:
        """Close the account: without validation the last flow is the result."""
        result = self._result
        result.iterations, result.was_stopped = done, was_stopped
        if self._validate is None:
            result.flow, result.best_iteration = flow, done
        return result

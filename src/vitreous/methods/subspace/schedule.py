"""Which shells EM works on, iteration by iteration: low ones first.

They are cheap, and have no local optima. Every later stage reaches less than twice as far.
"""

from typing import NamedTuple

# The first stage reaches so far at most, every later one farther by this factor.
_FIRST_SHELL, _GROWTH = 8, 1.75
# Least half-set correlation believed in: halves that have not converged agree too little.
_EARLY_FLOOR, _LATE_FLOOR = 0.3, 0.05


class Step(NamedTuple):
    """Say what to do in one iteration: the last shell, and the least correlation believed in."""

    last_shell: int
    floor: float


def schedule(max_shell: int, iterations: int) -> list[Step]:
    """Plan the iterations on half sets.

    **Arguments:** `iterations`: in each stage but the first, where components are found: twice
    as many.
    """
    stages = [max_shell]
    while stages[-1] > _FIRST_SHELL:
        stages.append(max(2, round(stages[-1] / _GROWTH)))
    # A band of one stage still needs iterations that believe the halves.
    first, *later = [*stages[::-1], max_shell] if len(stages) == 1 else stages[::-1]
    steps = [Step(first, _EARLY_FLOOR)] * (2 * iterations)
    for number, shell in enumerate(later, 1):
        share = number / len(later)
        floor = _EARLY_FLOOR + share * (_LATE_FLOOR - _EARLY_FLOOR)
        steps += [Step(shell, floor)] * iterations
    return steps

"""How many components the data support: what each gains on images it was not fitted to."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from vitreous.files import atomic_path

# Log odds. Components of pure noise were seen to win or lose up to 15 by chance, and more while
# they still take up what is left of real ones; but their halves do not agree.
_CLEAR, _ALIKE = 20.0, 0.2


class Support(NamedTuple):
    """Hold what half sets say about each component, the strongest first.

    **Fields:** `evidence`: log marginal likelihood of each half's images with the first 0, 1, … K
    components *of the other half*, relative to none. `correlation`: of each component with its
    counterpart. `power`: its mean square relative to the mean map's. `supported`: number of
    components up to the last that clearly raises the evidence and is alike in both halves.
    """

    evidence: Float[np.ndarray, " k"]
    correlation: Float[np.ndarray, " d"]
    power: Float[np.ndarray, " d"]
    supported: int


def judge(
    evidence: Float[np.ndarray, "2 k"],
    correlation: Float[np.ndarray, " d"],
    power: Float[np.ndarray, " d"],
) -> Support:
    """Count components up to the last that is alike and raises the other half's evidence."""
    total = evidence.sum(axis=0).astype(np.float64)
    total = total - total[0]
    clear = np.flatnonzero((np.diff(total) > _CLEAR) & (correlation > _ALIKE))
    return Support(total, correlation, power, int(clear[-1]) + 1 if len(clear) else 0)


def plot_support(support: Support, path: Path) -> None:
    """Draw evidence and half-set correlation over the number of components."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    count = np.arange(len(support.evidence))
    left.plot(count, support.evidence, "o-", color="C0", ms=4)
    left.axvline(support.supported, color="0.6", lw=0.8)
    left.set(xlabel="components", ylabel="log evidence, other half", title="cross-validated")
    number = count[1:]
    right.bar(number, support.correlation, color=np.where(number <= support.supported, "C0", "0.8"))
    right.set(xlabel="component", ylabel="half-set correlation", ylim=(-0.1, 1))
    right.set_title(f"{support.supported} supported")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)

"""Populations of submitted maps against the true distribution, as the Flatiron challenge does.

True maps are many and finely spaced; windows of neighbours along their first component are what a
submission can hope to resolve.
"""

from typing import Any, NamedTuple

import numpy as np
import scipy.optimize
import scipy.sparse
from jaxtyping import Float, Int

Cost = Float[np.ndarray, "t s"]


class PopulationScore(NamedTuple):
    """Hold what a submission's populations cost.

    `emd`: earth mover's distance of the true populations to the submitted ones; `emd_best`: the
    least that any populations of the same maps could cost; `kl_forward`, `kl_backward`: divergence
    of the best populations from the submitted, and back, in nats. Means over replicates;
    `emd_deviation` over them.
    """

    emd: float
    emd_best: float
    emd_deviation: float
    kl_forward: float
    kl_backward: float


def score_populations(
    cost: Cost,
    truth: Float[np.ndarray, " t"],
    submitted: Float[np.ndarray, " s"],
    order: Float[np.ndarray, " t"] | None = None,
    window: int = 5,
    replicates: int = 30,
    share: float = 0.9,
    use_ranks: bool = True,
    seed: int = 0,
) -> PopulationScore:
    """Compare populations of maps.

    **Arguments:** `cost`: between true and submitted maps, see `map_to_map.map_distances`.
    `truth`, `submitted`: populations, of any sum. `order`: coordinate along which `window`
    neighbouring true maps are pooled, as their first component; None pools nothing. `share` of
    the true maps that each of `replicates` uses. `use_ranks`: replace costs by their ranks, so
    that metrics of any unit compare.

    **Source:** Astore et al. (2025), distribution-to-distribution metric.
    """
    generator = np.random.default_rng(seed)
    count = len(truth)
    rows = []
    claimed = submitted / submitted.sum()
    for _ in range(replicates):
        kept = np.sort(generator.permutation(count)[: max(1, round(share * count))])
        part, weight = cost[kept], truth[kept]
        if order is not None:
            part, weight = _pooled(part, weight, np.argsort(order[kept], kind="stable"), window)
        if use_ranks:
            part = _ranks(part)
        weight = weight / weight.sum()
        best = np.bincount(part.argmin(axis=1), weights=weight, minlength=len(claimed))
        rows.append(
            (
                earth_movers_distance(weight, claimed, part),
                float(np.sum(weight * part.min(axis=1))),
                _divergence(best, claimed),
                _divergence(claimed, best),
            )
        )
    table = np.array(rows)
    emd, least, forward, backward = table.mean(axis=0).tolist()
    return PopulationScore(emd, least, float(table[:, 0].std()), forward, backward)


def earth_movers_distance(
    source: Float[np.ndarray, " t"], target: Float[np.ndarray, " s"], cost: Cost
) -> float:
    """Return the least cost of moving one distribution onto another: a linear programme."""
    t, s = cost.shape
    rows = scipy.sparse.kron(scipy.sparse.eye_array(t), np.ones((1, s)))
    columns = scipy.sparse.kron(np.ones((1, t)), scipy.sparse.eye_array(s))
    # One equation follows from the others.
    equations = scipy.sparse.vstack([rows, columns]).tocsr()[:-1]
    right = np.concatenate([source / source.sum(), target / target.sum()])[:-1]
    # SciPy's stubs know dense matrices only.
    found: Any = scipy.optimize.linprog(cost.ravel(), A_eq=equations, b_eq=right)  # type: ignore[call-overload]
    return float(found.fun)


def _pooled(
    cost: Cost, weight: np.ndarray, order: Int[np.ndarray, " t"], window: int
) -> tuple[Float[np.ndarray, "w s"], Float[np.ndarray, " w"]]:
    """Average costs and add up populations of runs of neighbours."""
    parts = [order[k : k + window] for k in range(0, len(order), window)]
    return np.stack([cost[p].mean(axis=0) for p in parts]), np.array(
        [weight[p].sum() for p in parts]
    )


def _ranks(cost: Cost) -> Cost:
    """Replace each cost by its rank among all, from 0 to 1."""
    from scipy.stats import rankdata

    ranks = rankdata(cost.ravel()).reshape(cost.shape) - 1
    return ranks / max(cost.size - 1, 1)


def _divergence(p: np.ndarray, q: np.ndarray, floor: float = 1e-6) -> float:
    """Kullback-Leibler divergence in nats; empty bins count as `floor`."""
    p, q = np.maximum(p, floor), np.maximum(q, floor)
    p, q = p / p.sum(), q / q.sum()
    return float(np.sum(p * np.log(p / q)))

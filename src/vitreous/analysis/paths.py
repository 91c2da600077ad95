"""Straight paths through a latent space: along principal components, and between anchors."""

import itertools

import numpy as np
from jaxtyping import Float, Int

from vitreous.analysis.principal import PrincipalComponents, fit_components
from vitreous.errors import InputError


def component_path(
    z: Float[np.ndarray, "n d"],
    component: int,
    count: int = 10,
    limits: tuple[float, float] = (5.0, 95.0),
    by_percentile: bool = False,
    components: PrincipalComponents | None = None,
) -> Float[np.ndarray, "count d"]:
    """Walk along one principal component, the others at their mean.

    **Arguments:** `component`: 1 for the first. `limits`: percentiles of the component where the
    path begins and ends. `by_percentile`: steps of equal percentile instead of equal length.

    **Raises:** `InputError` if there is no such component.
    """
    components = fit_components(z) if components is None else components
    if not 1 <= component <= len(components.axes):
        raise InputError(
            f"principal component {component}: the latent has components 1 to "
            f"{len(components.axes)}"
        )
    if not (0 <= limits[0] < limits[1] <= 100 and count >= 2):
        raise InputError("a path needs two percentiles 0 <= low < high <= 100 and 2 points or more")
    score = components.transform(z)[:, component - 1]
    if by_percentile:
        stops = np.percentile(score, np.linspace(*limits, count))
    else:
        low, high = np.percentile(score, limits)
        stops = np.linspace(low, high, count)
    scores = np.zeros((count, len(components.axes)), np.float32)
    scores[:, component - 1] = stops
    return components.inverse(scores)


def direct_path(
    anchors: Float[np.ndarray, "a d"], count: int = 6, is_loop: bool = False
) -> Float[np.ndarray, "p d"]:
    """Join anchors by straight lines.

    **Arguments:** `count`: points of each segment, both ends included; an anchor that two
    segments share appears once. `is_loop`: return to the first anchor.

    **Raises:** `InputError` if there are fewer than two anchors or points.
    """
    if len(anchors) < 2 or count < 2:
        raise InputError("a path needs two anchors and 2 points a segment or more")
    stops = np.concatenate([anchors, anchors[:1]]) if is_loop else anchors
    part = np.linspace(0, 1, count)[:, None]
    segments = [a + part[i > 0 :] * (b - a) for i, (a, b) in enumerate(itertools.pairwise(stops))]
    return np.concatenate(segments).astype(np.float32)


def nearest_points(
    path: Float[np.ndarray, "p d"], z: Float[np.ndarray, "n d"]
) -> Int[np.ndarray, " p"]:
    """Find the particle nearest to each point of a path."""
    return np.array([np.argmin(np.sum((z - point) ** 2, axis=1)) for point in path], np.int64)


def check_anchors(anchors: Int[np.ndarray, " a"], count: int) -> Int[np.ndarray, " a"]:
    """Refuse anchors that are no rows of the latent.

    **Raises:** `InputError` naming the first bad one.
    """
    bad = anchors[(anchors < 0) | (anchors >= count)]
    if bad.size:
        raise InputError(f"anchor {bad[0]}: the latent has rows 0 to {count - 1}")
    return anchors

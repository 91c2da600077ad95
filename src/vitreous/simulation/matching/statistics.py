"""What chance alone would find: the score that one of many noise values is expected to exceed."""

import numpy as np
from scipy.special import ndtri
from scipy.stats import norm


def noise_threshold(samples: float | int, false_positives: float = 1.0) -> float:
    """Return the score that so many of `samples` independent standard normal values exceed.

    With one false positive it is where the largest of the values is expected.

    ```python
    >>> round(noise_threshold(1e9), 3)
    5.998

    ```

    **Source:** Sigworth (2004) J. Struct. Biol. 145, 111; Rickgauer et al. (2017) eLife 6, e25648:
    `N · ½ erfc(t/√2) = false positives`. Neighbouring pixels and orientations give values alike,
    so fewer false positives are found than this counts.
    """
    if samples <= false_positives:
        raise ValueError(f"{samples:g} values cannot give {false_positives:g} false positives")
    return float(-ndtri(false_positives / samples))


def chance_of_detection(expected: float, threshold: float) -> float:
    """Return how likely a particle of an expected score is found above a threshold."""
    return float(norm.sf(threshold - expected))


def largest_of(samples: float | int, quantile: float = 0.5) -> float:
    """Return a quantile of the largest of so many independent standard normal values."""
    return float(-ndtri(-np.expm1(np.log(quantile) / samples)))

"""How much of a particle's score is left when it is judged against its own pixel's other views.

Where a particle lies all views resemble it somewhat. Their mean is taken off the best one, and
their spread is divided by; both grow with the likeness of views, little for fine detail, much for
small molecules and coarse pixels.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from vitreous.geometry.rectangle import rectangle_frequencies, rectangle_weights
from vitreous.geometry.rotations import random_rotations
from vitreous.imaging.ctf import CTFParameters, evaluate_ctf
from vitreous.simulation.matching.search import project_template
from vitreous.simulation.matching.whitening import RingPower, whitening_filter
from vitreous.simulation.specimen import Specimen

_VIEWS = 48
_project = jax.jit(project_template)


def view_likeness(
    specimen: Specimen,
    ctf: CTFParameters | None,
    noise: RingPower,
    finest: float | None = None,
    coarsest: float | None = None,
) -> Float[np.ndarray, " pairs"]:
    """Return the correlations of random pairs of views, as noise and lens leave them.

    **Arguments:** `noise`: power of the micrograph. `finest`, `coarsest`: periods in pixels.
    """
    shape = (2 * specimen.box, 2 * specimen.box)
    factor = whitening_filter(noise, shape, finest, coarsest)
    if ctf is not None:
        k = jnp.asarray(rectangle_frequencies(shape)) / specimen.pixel_size
        one = CTFParameters(*(jnp.asarray(float(field), jnp.float32) for field in ctf))
        factor = factor * np.asarray(evaluate_ctf(k.reshape(-1, 2), one)).reshape(factor.shape)
    views = _project(specimen, random_rotations(jax.random.key(0), _VIEWS))
    half = np.fft.rfft2(np.asarray(views, np.float64), s=shape)
    half *= factor * np.sqrt(rectangle_weights(shape))
    flat = half.reshape(_VIEWS, -1)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    likeness = (flat @ flat.conj().T).real
    return likeness[np.triu_indices(_VIEWS, 1)]


def share_kept(likeness: Float[np.ndarray, " pairs"], score: float) -> float:
    """Return the z score of a particle over its correlation.

    **Arguments:** `likeness`: of `view_likeness`. `score`: the correlation.

    With mean m and variance v of the likeness it is `(1 − m) / √(1 − m + v · score²)`.
    """
    mean, variance = likeness.mean(), likeness.var()
    return float((1 - mean) / np.sqrt(1 - mean + variance * score**2))

"""Area under the Fourier shell correlation: how well a decoded volume matches the true one.

`cryobench_fsc` and `cryobench_auc` follow CryoBench to the letter, so their numbers compare with
published tables. `fsc_area` is the house form for curves on rounded shells: 1 is perfect.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from vitreous.reconstruction.fsc import fourier_shell_correlation


def cryobench_fsc(
    volume: Float[np.ndarray, "n n n"],
    truth: Float[np.ndarray, "n n n"],
    mask: Float[np.ndarray, "n n n"] | None = None,
) -> Float[np.ndarray, " shells"]:
    """Correlate two volumes shell by shell as CryoBench does.

    **Arguments:** `mask`: multiplied on both volumes first.

    **Returns:** `n // 2` values at `i / n` cycles/pixel. The first is 1 by definition, the
    others belong to `i − 1 <= |k| < i` (so the second holds the DC voxel alone). A shell without
    power counts as 1.

    **Source:** Jeon et al. (2024) CryoBench, per-image FSC.
    """
    if mask is not None:
        volume, truth = volume * mask, truth * mask
    curve = fourier_shell_correlation(jnp.asarray(volume), jnp.asarray(truth), "cryobench")
    return np.asarray(curve)


def cryobench_auc(
    volume: Float[np.ndarray, "n n n"],
    truth: Float[np.ndarray, "n n n"],
    mask: Float[np.ndarray, "n n n"] | None = None,
) -> float:
    """Integrate `|FSC|` over frequency in cycles/pixel (trapezoids), as CryoBench does.

    **Returns:** at most `(n // 2 − 1) / n`: 0.4844 for a box of 64, 0.4922 for 128.
    """
    curve = np.abs(cryobench_fsc(volume, truth, mask))
    return float(np.trapezoid(curve, dx=1 / volume.shape[0]))


def fsc_area(curve: Float[np.ndarray, " shells"]) -> float:
    """Average an FSC curve from its second shell on, sign kept: 1 is perfect, 0 is chance.

    The first shell is DC alone, which says nothing about agreement. Any box size compares with
    any other, unlike the CryoBench number.
    """
    return float(np.trapezoid(curve[1:]) / (len(curve) - 2))


def per_image_auc(
    decode: Callable[[np.ndarray], np.ndarray],
    latent: Float[np.ndarray, "images d"],
    volumes: Float[np.ndarray, "states n n n"],
    labels: Int[np.ndarray, " images"],
    chosen: Int[np.ndarray, " chosen"],
    mask: Float[np.ndarray, "n n n"] | None = None,
    batch: int = 8,
    progress: Callable[[int, int], None] | None = None,
) -> Float[np.ndarray, " chosen"]:
    """Score the volume decoded at each chosen image's own latent against its true volume.

    **Arguments:** `decode`: latents `(m, d)` → volumes `(m, n, n, n)`. `labels`: the true state
    of each image, a row of `volumes`. `chosen`: rows to score, see `every_nth`.

    **Returns:** `cryobench_auc` of each chosen image.
    """
    scores: list[float] = []
    for start in range(0, len(chosen), batch):
        rows = chosen[start : start + batch]
        decoded = np.asarray(decode(latent[rows]))
        scores += [
            cryobench_auc(v, volumes[labels[i]], mask) for v, i in zip(decoded, rows, strict=True)
        ]
        if progress is not None:
            progress(len(scores), len(chosen))
    return np.asarray(scores, dtype=np.float64)


def every_nth(images: int, count: int) -> Int[np.ndarray, " chosen"]:
    """List about `count` rows at CryoBench's stride, `0, s, 2s, …` with `s = images // count`."""
    return np.arange(0, images, max(1, images // count))

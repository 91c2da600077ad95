"""Poses for a map that is known and stays as it is: one search through all of them."""

import logging
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vitreous.methods.abinitio.found import Found
from vitreous.methods.abinitio.halves import Halves
from vitreous.methods.abinitio.passes import timed_pass
from vitreous.methods.abinitio.progress import Progress
from vitreous.methods.abinitio.search import rows_of_halves
from vitreous.methods.abinitio.setting import Setting
from vitreous.methods.abinitio.verdict import conclude, is_credible

logger = logging.getLogger(__name__)

# Images of each half by which the noise is measured first.
_SAMPLE = 256


def pose_by_map(setting: Setting, volume: Float[Array, "n n n"]) -> Found:
    """Find the poses under which images show a map.

    **Arguments:** `volume`: in the units of prepared pixels; neither masked nor changed.

    **Returns:** the poses in the frame of the map, with half maps of the images beside it.
    """
    shells, n = setting.pixels.max_shell + 1, len(setting.data)
    fsc, everyone = np.ones(shells), np.ones(n, bool)
    halves = rows_of_halves(setting)
    held = jnp.stack([volume[None], volume[None]])
    key = jax.random.key(setting.seed)
    # The power of images is noise and signal; what the map leaves over of some is noise.
    few = tuple(
        mine[np.linspace(0, len(mine) - 1, min(len(mine), _SAMPLE)).astype(int)] for mine in halves
    )
    start = Halves(held, setting.image_power(), fsc)
    measured, _ = timed_pass(setting, start, few, key, everyone)
    setting.report("noise", 1, 1, "")
    start = replace(start, noise=measured.noise)
    seen, rate = timed_pass(setting, start, halves, key, everyone)
    score = float(seen.score.mean())
    setting.report("poses", 1, 1, f"log likelihood ratio {score:.2f} an image")
    logger.info("poses of a given map: %.0f images a second", rate)
    history = [{"phase": "poses", "epoch": 1, "score": score, "images_per_second": rate}]
    done = Progress(halves=replace(seen, volumes=held), agreed=seen, history=history)
    found = conclude(setting, done)
    credible = is_credible(found.fsc)
    verdict = "poses of a map that was given; half maps "
    verdict += "agree beyond their first shells" if credible else "hardly agree"
    return replace(found, converged=credible, verdict=verdict)

"""What the images say about their own CTF: is its sign still in them, is it there twice?"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from vitreous.geometry.shift import phase_shift
from vitreous.imaging.fourier_grid import volume_to_grid
from vitreous.imaging.slicing import slice_grid
from vitreous.reconstruction.backprojection import Geometry, Slices, transfer
from vitreous.reconstruction.checks.evidence import Explanation, explain

# Powers of the CTF that images may carry: name → what the true image was multiplied with.
CARRIED = {
    "ctf": lambda c: c,
    "absolute": jnp.abs,
    "square": lambda c: c * c,
    "none": jnp.ones_like,
}
# Log-likelihood by which one must lead.
_DECISIVE = 25.0


class CarriedCTF(NamedTuple):
    """Hold what was found.

    **Fields:** `kind`: a key of `CARRIED`, or `"undetermined"`. `lead`: of the best over the next
    in log-likelihood. `likelihood` of each.
    """

    kind: str
    lead: float
    likelihood: dict[str, float]


def carried_ctf(given: Explanation, slices: Slices, geometry: Geometry) -> CarriedCTF:
    """Find which power of its CTF each image carries.

    **Arguments:** `given`: the half maps that come of the images as they are.

    Maps are also made with the signs of the CTF taken out of the images; the half maps that agree
    better predict the images of the other half, and the predictions, times each power of the CTF,
    are compared with the images shell by shell. The scale of each shell is free.
    """
    slices = jax.tree.map(jnp.asarray, slices)
    c = _pixel_transfer(slices, geometry)
    # Backprojecting these with the CTF is backprojecting the images with its absolute value.
    turned = explain(slices._replace(pixels=slices.pixels * _sign(c)), geometry)
    best = turned if turned.fsc.mean() > given.fsc.mean() else given
    gain = _likelihoods(slices, c, best.half_maps, geometry)
    likelihood = dict(zip(CARRIED, np.asarray(gain).tolist(), strict=True))
    order = sorted(likelihood, key=lambda name: -likelihood[name])
    lead = likelihood[order[0]] - likelihood[order[1]]
    return CarriedCTF(order[0] if lead > _DECISIVE else "undetermined", lead, likelihood)


@partial(jax.jit, static_argnames="geometry")
def _pixel_transfer(slices: Slices, geometry: Geometry) -> Float[Array, "b p"]:
    k = jnp.asarray(geometry.pixels.frequency[: slices.pixels.shape[-1]])
    frequency = k[None] / (geometry.box * slices.pixel_size[:, None, None])
    return transfer(frequency, slices.ctf, slices.dose, geometry)


@jax.jit
def _sign(c: Float[Array, "b p"]) -> Complex[Array, "b p"]:
    return jnp.where(c < 0, -1, 1).astype(jnp.complex64)


@partial(jax.jit, static_argnames="geometry")
def _likelihoods(
    slices: Slices, c: Float[Array, "b p"], half_maps: Float[Array, "2 n n n"], geometry: Geometry
) -> Float[Array, " kinds"]:
    """Sum over shells the log-likelihood gained by a prediction of best scale, one a kind."""
    pixels = geometry.pixels
    count = slices.pixels.shape[-1]
    k = jnp.asarray(pixels.frequency[:count])
    # An image must be predicted by the map it did not help to make.
    cuts = [slice_grid(volume_to_grid(half_maps[h]), slices.rotation, k) for h in (1, 0)]
    cut = jnp.where((slices.group == 0)[:, None], cuts[0], cuts[1])
    frequency = k[None] / (geometry.box * slices.pixel_size[:, None, None])
    cut = cut * phase_shift(frequency, slices.shift)
    shell = jnp.asarray(pixels.shell[:count])

    def by_shell(values):
        return jnp.zeros(geometry.max_shell + 1).at[shell].add(values.sum(0))

    weight = slices.weight[:, None]
    cross = (cut.conj() * slices.pixels).real * weight
    power = jnp.abs(cut) ** 2 * weight
    noise = by_shell(jnp.abs(slices.pixels) ** 2 * weight)
    number = by_shell(jnp.ones_like(c) * weight)
    variance = noise / jnp.maximum(number, 1) / 2
    gains = []
    for carried in CARRIED.values():
        b = carried(c)
        x, y = by_shell(b * cross), by_shell(b * b * power)
        # A negative scale would be a prediction of the wrong sign: it counts against the kind.
        gain = jnp.sign(x) * x * x / jnp.maximum(y, 1e-30) / jnp.maximum(variance, 1e-30) / 2
        gains.append(jnp.sum(jnp.where(y > 0, gain, 0)))
    return jnp.stack(gains)

"""What an encoder may look at, and how what the tilts of a particle say is put together."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Complex, Float

from vitreous.training.networks.lifting import Lifting


class EncoderInput(NamedTuple):
    """Hold what an encoder may look at, for the leading (low-frequency) pixels of each image.

    **Fields:** `pixels`: centred image. `ctf`: CTF. `consensus`: slice of the consensus map, or
    None. `inverse_noise`: 1 / noise power. `rotation`: volume to image. `weight`: 0 for images
    that only fill up; `tilts` images in a row show one particle.
    """

    pixels: Complex[Array, "b q"]
    ctf: Float[Array, "b q"]
    consensus: Complex[Array, "b q"] | None
    inverse_noise: Float[Array, " q"]
    rotation: Float[Array, "b 3 3"]
    weight: Float[Array, " b"] | None = None
    tilts: int = 1


def over_tilts(values: Float[Array, "b f"], seen: EncoderInput) -> Float[Array, "g f"]:
    """Add up what the images of each particle say."""
    if seen.tilts == 1:
        return values
    if seen.weight is not None:
        values = values * seen.weight[:, None]
    return jnp.sum(values.reshape(-1, seen.tilts, values.shape[1]), axis=1)


def mean_over_tilts(values: Float[Array, "b f"], seen: EncoderInput) -> Float[Array, "g f"]:
    """Average what the images of each particle say."""
    if seen.tilts == 1:
        return values
    count = over_tilts(jnp.ones((len(values), 1)), seen)
    return over_tilts(values, seen) / jnp.maximum(count, 1.0)


def lifted_images(lifting: Lifting, seen: EncoderInput) -> Float[Array, "b v"]:
    """Lift the matched-filtered difference between each image and the consensus."""
    residual = seen.pixels
    if seen.consensus is not None:
        residual = residual - seen.ctf.astype(residual.dtype) * seen.consensus
    matched = residual * (seen.ctf * seen.inverse_noise[None]).astype(residual.dtype)
    return lifting(matched, seen.rotation)


def lifted_residual(lifting: Lifting, seen: EncoderInput) -> Float[Array, "g v"]:
    """Lift what images show beyond the consensus, and add up the tilts of a particle.

    In the molecule's frame the tilts of a particle speak of the same voxels: evidence adds.
    """
    return over_tilts(lifted_images(lifting, seen), seen)


def phase_flipped(seen: EncoderInput) -> Complex[Array, "b q"]:
    """Return the images times the sign of their CTF."""
    return seen.pixels * jnp.sign(seen.ctf).astype(seen.pixels.dtype)

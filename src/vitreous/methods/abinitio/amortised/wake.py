"""Wake: the encoder proposes poses of real images, the volume says which are likely."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float, Int

from vitreous.geometry.shift import phase_shift
from vitreous.methods.abinitio.amortised.encoders import Encoder
from vitreous.methods.abinitio.amortised.frame import Frame
from vitreous.methods.abinitio.amortised.hypotheses import Layout
from vitreous.methods.abinitio.amortised.orbit import Orbit
from vitreous.methods.abinitio.amortised.reference import Reference, whitened


class Sight(NamedTuple):
    """Hold real images as wake needs them.

    **Fields:** `pixels`, `transfer`: of the band. `group`: half set. `stretch`: see `Frame`.
    """

    pixels: Complex[Array, "b p"]
    transfer: Float[Array, "b p"]
    group: Int[Array, " b"]
    stretch: Float[Array, " b"]


class Proposals(NamedTuple):
    """Hold candidate poses of each image and how likely they are.

    **Fields:** `rotation`, `shift` (pixels of the small box). `score`: log likelihood ratio
    against an image of noise alone.
    """

    rotation: Float[Array, "b k 3 3"]
    shift: Float[Array, "b k 2"]
    score: Float[Array, "b k"]


def propose(
    encoder: Encoder,
    sight: Sight,
    reference: Reference,
    orbit: Orbit,
    layout: Layout,
    reach: Float[Array, ""],
    frame: Frame,
) -> Proposals:
    """Ask the encoder about every turned version of each image, and score what it says.

    The set of answers turns with the image exactly, whatever the network has learnt.
    """
    seen = orbit.turn(whitened(sight.pixels, sight.transfer, reference, frame))
    images, turns, count = seen.shape
    found = layout.hypotheses(encoder(seen.reshape(-1, count)), reach)
    rotation, shift = orbit.turn_back(
        found.rotation.reshape(images, turns, -1, 3, 3),
        found.shift.reshape(images, turns, -1, 2),
    )
    rotation, shift = rotation.reshape(images, -1, 3, 3), shift.reshape(images, -1, 2)
    return Proposals(rotation, shift, score(sight, rotation, shift, reference, frame))


def predicted(
    sight: Sight,
    rotation: Float[Array, "b k 3 3"],
    shift: Float[Array, "b k 2"],
    reference: Reference,
    frame: Frame,
) -> Complex[Array, "b k p"]:
    """Predict images at poses: slice, shift, CTF, band."""
    views = reference.slices(frame, rotation, sight.group, sight.stretch)
    frequency = jnp.asarray(frame.pixels.frequency) / frame.box
    views = views * phase_shift(frequency[None, None], shift)
    seen = sight.transfer * reference.in_band(frame)[None]
    return views * seen[:, None].astype(views.dtype)


def score(
    sight: Sight,
    rotation: Float[Array, "b k 3 3"],
    shift: Float[Array, "b k 2"],
    reference: Reference,
    frame: Frame,
) -> Float[Array, "b k"]:
    """Return `Σ_k m_k [Re(ȳ m) − ½ |m|²] / N`, the log likelihood ratio of poses against noise."""
    model = predicted(sight, rotation, shift, reference, frame)
    weight = jnp.asarray(frame.pixels.weight) / reference.noise[frame.pixels.shell]
    image = sight.pixels[:, None]
    cross = model.real * image.real + model.imag * image.imag
    square = model.real**2 + model.imag**2
    return jnp.sum((cross - 0.5 * square) * weight[None, None], axis=-1)


def draw(
    proposals: Proposals, temperature: Float[Array, ""] | float, key: jax.Array
) -> tuple[Float[Array, "b 3 3"], Float[Array, "b 2"], Float[Array, " b"]]:
    """Draw one pose an image by its likelihood, and give its score.

    Drawing instead of taking the best one keeps an uncertain image from feeding its own noise.
    """
    choice = jax.random.categorical(key, proposals.score / temperature)
    return pick(proposals, choice)


def pick(
    proposals: Proposals, choice: Int[Array, " b"]
) -> tuple[Float[Array, "b 3 3"], Float[Array, "b 2"], Float[Array, " b"]]:
    """Return rotation, shift and score of one proposal an image."""
    rows = jnp.arange(len(choice))
    return (
        proposals.rotation[rows, choice],
        proposals.shift[rows, choice],
        proposals.score[rows, choice],
    )

"""The encoder of a flexible fit: from an image, its pose and CTF to a first guess of its latent.

What an image shows beyond the molecule at rest is matched-filtered and lifted into the molecule's
frame, where it is the same from every view; a few components of that tell the latent.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PyTree

from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.methods.flexible.config import FlexibleConfig
from vitreous.methods.flexible.gaussian_model import GaussianModel
from vitreous.methods.flexible.images import Images, Seen
from vitreous.methods.flexible.rendering import Renderer
from vitreous.methods.flexible.start import Start
from vitreous.training.networks.lifting import Lifting
from vitreous.training.networks.residual_mlp import ResidualMLP, scaled_output

# Outermost shell that is lifted; components told of it.
BAND, COMPONENTS = 8, 32
_WIDTH, _DEPTH = 64, 1
# Weights that no image speaks of fade by this share of a step.
_FADING = 1e-2


class Encoder(eqx.Module):
    """Tell latents from lifted images: straight from their components, corrected by a network.

    **Fields:** `volumes`: what components are inner products with, as measured; `middle` of these
    products; `straight`: latents of components; `network`: the rest, of components and view.
    """

    volumes: Float[Array, "v c"]
    middle: Float[Array, " c"]
    straight: Float[Array, "c d"]
    network: ResidualMLP

    def __call__(
        self, lifted: Float[Array, "b v"], rotation: Float[Array, "b 3 3"]
    ) -> Float[Array, "b d"]:
        """Return the latent of every image."""
        parts = lifted @ self.volumes - self.middle[None]
        view = rotation.reshape(-1, 9)
        return parts @ self.straight + self.network(jnp.concatenate([parts, view], axis=1))


class EncoderStart(NamedTuple):
    """Hold what an encoder begins with: see `Encoder`.

    **Fields:** `offset`: the network's bias. `latents`: what the encoder says of all images.
    """

    volumes: Float[np.ndarray, "v c"]
    middle: Float[np.ndarray, " c"]
    straight: Float[np.ndarray, "c d"]
    offset: Float[np.ndarray, " d"]
    latents: Float[np.ndarray, "n d"]


class Taught(eqx.Module):
    """Hold an encoder and the moments of its optimiser."""

    encoder: Encoder
    moments: optax.OptState


class Encoding:
    """Say how images are encoded, and how an encoder learns."""

    def __init__(self, config: FlexibleConfig, start: Start, images: Images) -> None:
        self.config, self.images = config, images
        shell = min(BAND, start.shell)
        band = FourierPixels(images.band.box, shell)
        self.count, self.mates = len(band), band.weight
        self.lifting = Lifting(band.box, shell, start.radius / images.pixel_size)
        self.renderer = Renderer(band.box, images.pixel_size, shell, start.width_bounds)
        self.adam = optax.scale_by_adam()

    def init(self, start: EncoderStart | None, key: jax.Array) -> Taught:
        """Make an encoder that says what its start does."""
        d, v = self.config.zdim, len(self.lifting.voxels)
        c = min(COMPONENTS, v)
        # Silent at first: what the components tell straight away comes first.
        network = scaled_output(ResidualMLP(c + 9, d, _WIDTH, _DEPTH, key=key), 0.0)
        if start is None:
            start = EncoderStart(*(np.zeros(shape) for shape in ((v, c), c, (c, d), d, (1, d))))
        volumes, middle, straight, offset = (jnp.asarray(x, jnp.float32) for x in start[:4])
        network = eqx.tree_at(lambda net: net.layers[-1].bias, network, offset)
        encoder = Encoder(volumes, middle, straight, network)
        return Taught(encoder, self.adam.init(eqx.filter(encoder, _learned(encoder))))

    def lifted(self, gaussians: GaussianModel, seen: Seen) -> Float[Array, "b v"]:
        """Lift what images show beyond the molecule at rest."""
        still = gaussians.atoms()
        where = still.position[None] * seen.stretch[:, None, None]
        drawn = self.renderer(still._replace(position=where), seen.rotation)
        q = self.count
        filtered = seen.filter[:, :q]
        left = seen.observed[:, :q] - drawn * filtered.astype(drawn.dtype)
        # Lifting knows of an image's other half plane; whitening counted it, too.
        matched = left * (filtered / jnp.asarray(self.mates)[None]).astype(left.dtype)
        return jax.lax.stop_gradient(self.lifting(matched, seen.rotation))

    def learn(
        self,
        taught: Taught,
        lifted: Float[Array, "b v"],
        seen: Seen,
        wanted: Float[Array, "b d"],
        weight: Float[Array, " b"],
        rate: Float[Array, ""],
    ) -> tuple[Taught, Float[Array, ""]]:
        """Lead the encoder one step to some latents.

        **Returns:** the encoder, and how far off it was (root mean square).
        """
        arrays, rest = eqx.partition(taught.encoder, _learned(taught.encoder))
        count = jnp.maximum(jnp.sum(weight), 1.0)

        def misfit(arrays) -> Float[Array, ""]:
            told = eqx.combine(arrays, rest)(lifted, seen.rotation)
            return 0.5 * jnp.sum(jnp.sum((told - wanted) ** 2, axis=1) * weight) / count

        value, slope = jax.value_and_grad(misfit)(arrays)
        with jax.numpy_dtype_promotion("standard"):
            updates, moments = self.adam.update(slope, taught.moments, arrays)
        arrays = jax.tree.map(lambda x, u: x - rate * (u + _FADING * x), arrays, updates)
        return Taught(eqx.combine(arrays, rest), moments), jnp.sqrt(2 * value)


def _learned(encoder: Encoder) -> PyTree:
    """Mark what an encoder learns: components stay as they were measured."""
    marks = jax.tree.map(eqx.is_inexact_array, encoder)
    return eqx.tree_at(lambda e: (e.volumes, e.middle), marks, (False, False))

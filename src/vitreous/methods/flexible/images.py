"""Images as a flexible model is compared with them: whitened, and as it predicts them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int

from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.imaging.gaussians import GaussianAtoms
from vitreous.methods.flexible.inference import Linearised, Predict, linearised
from vitreous.methods.flexible.rendering import Method, Renderer
from vitreous.methods.flexible.start import Start
from vitreous.methods.flexible.state import Moving
from vitreous.particles.prepare import Batch
from vitreous.reconstruction.foundation import centred_pixels, known_rotation, transfer_of
from vitreous.reconstruction.pose_correction import Pose, corrected_pose


class Seen(NamedTuple):
    """Hold what a model is compared with: whitened centred pixels, and what whitens a prediction.

    **Fields:** `observed` `(b, p)`; `filter`: CTF over the noise's deviation `(b, p)`; `rotation`;
    `stretch`: Å of the model's frame per Å of the image's, where magnifications differ `(b,)`.
    """

    observed: Complex[Array, "b p"]
    filter: Float[Array, "b p"]
    rotation: Float[Array, "b 3 3"]
    stretch: Float[Array, " b"]


class Images:
    """Say what images show up to the last shell in use, and what a model makes of them."""

    def __init__(
        self,
        start: Start,
        box: int,
        pixel_size: float,
        group: Int[np.ndarray, " n"],
        projection: Method,
    ) -> None:
        """**Arguments:** `group`: optics group of each image."""
        self.pixel_size, self.group = pixel_size, group
        self.band = FourierPixels(box, start.shell)
        self.count = len(self.band)
        self.renderer = Renderer(box, pixel_size, start.shell, start.width_bounds, projection)

    def see(
        self,
        batch: Batch,
        noise: Float[Array, "o shells"],
        correction: Float[Array, "b 5"] | None = None,
    ) -> Seen:
        """Whiten a batch up to the last shell in use."""
        pose = Pose(known_rotation(batch), batch.shift)
        if correction is not None:
            pose = corrected_pose(pose.rotation, pose.shift, correction)
        batch, whitening = self._cut(batch), jnp.sqrt(self._inverse_noise(batch, noise))
        centred = centred_pixels(batch, self.band, pose.shift)
        return Seen(
            centred * whitening.astype(centred.dtype),
            transfer_of(batch, self.band) * whitening,
            pose.rotation,
            self._stretch(batch),
        )

    def predict(self, model: Moving, seen: Seen) -> Predict:
        """Return the function from latents to whitened images."""

        def images(z: Float[Array, "b d"]) -> Complex[Array, "b p"]:
            drawn = self.renderer(_moved(model, z, seen.stretch), seen.rotation)
            return drawn * seen.filter.astype(drawn.dtype)

        return images

    def linearise(self, model: Moving, seen: Seen) -> Linearised:
        """Return the same with how images change along each latent dimension."""
        gaussians, field = model.gaussians, model.deformation
        if self.renderer.chosen(len(gaussians)) == "separable":
            return linearised(self.predict(model, seen))

        def both(z: Float[Array, "b d"]):
            moved, along = jax.linearize(lambda z: field(gaussians.positions, z), z)
            axes = jnp.eye(z.shape[1], dtype=z.dtype)
            directions = jax.vmap(lambda one: along(jnp.broadcast_to(one, z.shape)))(axes)
            stretch = seen.stretch[:, None, None]
            atoms = gaussians.atoms(moved)
            atoms = atoms._replace(position=atoms.position * stretch)
            value = self.renderer(atoms, seen.rotation)
            slopes = self.renderer.slopes(atoms, seen.rotation, directions * stretch[None])
            factor = seen.filter.astype(value.dtype)
            return value * factor, slopes * factor[None]

        return both

    def _cut(self, batch: Batch) -> Batch:
        # Pixels are listed by shell: those of the band come first.
        return batch._replace(pixels=batch.pixels[:, : self.count])

    def _inverse_noise(self, batch: Batch, noise: Float[Array, "o shells"]) -> Float[Array, "b p"]:
        power = noise[jnp.asarray(self.group)[batch.index]][:, jnp.asarray(self.band.shell)]
        return jnp.asarray(self.band.weight)[None] / power

    def _stretch(self, batch: Batch) -> Float[Array, " b"]:
        return self.pixel_size / batch.pixel_size


def _moved(model: Moving, z: Float[Array, "b d"], stretch: Float[Array, " b"]) -> GaussianAtoms:
    """Move the Gaussians of every image, and bring them to its magnification."""
    moved = model.gaussians.atoms(model.deformation(model.gaussians.positions, z))
    return moved._replace(position=moved.position * stretch[:, None, None])

"""The small box that encoder and volume live in: all images, cropped in Fourier space.

Poses need few shells. A band of them is the leading part of every list of prepared pixels, and the
same list for any box that holds it, so images of any size become small ones without a transform.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int

from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.particles.prepare import Batch
from vitreous.reconstruction.backprojection import Geometry, Slices
from vitreous.reconstruction.foundation import transfer_of

# Shells beyond the band that interpolation may touch.
_MARGIN = 4


class Frame(NamedTuple):
    """Say how images are cropped (hashable, so a static argument of jitted functions).

    **Fields:** `image_box`: side of the images. `max_shell`: outermost shell kept. `pixel_size`:
    of the images in Å, the median of the set.
    """

    image_box: int
    max_shell: int
    pixel_size: float

    @property
    def box(self) -> int:
        """Side of the small box."""
        return min(self.image_box, 2 * self.max_shell + _MARGIN)

    @property
    def shrink(self) -> float:
        """How many pixels of the images one pixel of the small box is wide."""
        return self.image_box / self.box

    @property
    def voxel_size(self) -> float:
        """Å per voxel of the small volumes."""
        return self.pixel_size * self.shrink

    @property
    def pixels(self) -> FourierPixels:
        """The Fourier pixels of a small image."""
        return FourierPixels(self.box, self.max_shell)

    @property
    def full_pixels(self) -> FourierPixels:
        """The same pixels, listed for the whole image."""
        return FourierPixels(self.image_box, self.max_shell)

    @property
    def geometry(self) -> Geometry:
        """What is reconstructed in the small box."""
        return Geometry(self.box, self.max_shell, self.voxel_size)

    @property
    def shells(self) -> int:
        """Number of shells, the zero frequency included."""
        return self.max_shell + 1

    def crop(self, batch: Batch) -> Batch:
        """Keep the band of prepared images."""
        return batch._replace(pixels=batch.pixels[:, : len(self.pixels)])

    def transfer(self, batch: Batch) -> Float[Array, "b p"]:
        """Evaluate what the pixels of a cropped batch were multiplied with."""
        return transfer_of(batch, self.full_pixels)

    def slices(
        self,
        batch: Batch,
        rotation: Float[Array, "b 3 3"],
        shift: Float[Array, "b 2"],
        group: Int[Array, " b"],
        weight: Float[Array, " b"],
    ) -> Slices:
        """Say where cropped images belong.

        **Arguments:** `shift`: in pixels of the small box. `group`: half set.
        """
        sampling = batch.pixel_size * self.shrink
        lengths = shift * sampling[:, None]
        return Slices(
            batch.pixels, rotation, lengths, sampling, batch.ctf, group, weight, batch.dose
        )

    def stretch(self, batch: Batch) -> Float[Array, " b"]:
        """Return by how much each image's frequencies lie further out than the volume's."""
        return self.pixel_size / batch.pixel_size

    def mean_of_shells(self, values: Float[Array, "b p"]) -> Float[Array, " shells"]:
        """Average pixels over each shell and over the batch."""
        return mean_of_shells(values, self)


def mean_of_shells(values: Float[Array, "b p"], frame: Frame) -> Float[Array, " shells"]:
    """Average pixels over each shell and over the batch; shell 0, which has none, is 0."""
    pixels = frame.pixels
    share = np.zeros((len(pixels), frame.shells), np.float32)
    share[np.arange(len(pixels)), pixels.shell] = pixels.weight
    share /= np.maximum(share.sum(axis=0, keepdims=True), 1)
    return jnp.mean(values, axis=0) @ jnp.asarray(share)


def hermitian(values: Complex[Array, "b p"], pixels: FourierPixels) -> Complex[Array, "b p"]:
    """Let pixels of column kx = 0 be conjugates of their mates, as those of a real image are."""
    place = {tuple(k): i for i, k in enumerate(pixels.frequency.astype(int).tolist())}
    lower = (pixels.frequency[:, 0] == 0) & (pixels.frequency[:, 1] < 0)
    mate = np.arange(len(pixels))
    for i in np.flatnonzero(lower):
        mate[i] = place[(0, -int(pixels.frequency[i, 1]))]
    return jnp.where(jnp.asarray(lower)[None], values[:, mate].conj(), values)

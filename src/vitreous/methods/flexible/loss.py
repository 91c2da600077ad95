"""What a flexible model is judged by: whitened images, and the springs between its Gaussians."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from vitreous.methods.flexible.elastic import edge_lengths, elastic_energy
from vitreous.methods.flexible.gaussian_model import GaussianModel
from vitreous.methods.flexible.images import Images, Seen
from vitreous.methods.flexible.repulsion import listed
from vitreous.methods.flexible.start import Start
from vitreous.methods.flexible.state import Moving

# Standard deviation of a Gaussian's logarithms about where they start.
_LOOSENESS = 0.5


class Loss:
    """Judge a half's model on some of its images."""

    def __init__(self, start: Start, images: Images, count: int) -> None:
        """**Arguments:** `count`: images of both halves."""
        self.start, self.images, self.count = start, images, count
        self.total = float(images.band.weight.sum())

    def of_images(
        self,
        model: Moving,
        seen: Seen,
        z: Float[Array, "b d"],
        share: Float[Array, " b"],
    ) -> tuple[Float[Array, ""], tuple[Float[Array, ""], Float[Array, "b p"]]]:
        """Return the mean square of whitened residuals, with what holds amplitudes and widths.

        **Arguments:** `share` of each image in the mean.

        **Returns:** the sum; the mean alone, and each pixel's square.
        """
        left = seen.observed - self.images.predict(model, seen)(z)
        square = left.real**2 + left.imag**2
        error = jnp.sum(jnp.sum(square, axis=1) * share) / self.total
        return error + self._tightness(model.gaussians), (error, square)

    def of_springs(
        self,
        model: Moving,
        z: Float[Array, "b d"],
        share: Float[Array, " b"],
        near: Int[Array, "g k"] | None,
    ) -> Float[Array, ""]:
        """Return the springs' energy. `near`: Gaussians that each may meet besides."""
        edges, positions = jnp.asarray(self.start.edges), model.gaussians.positions
        moved = positions[None] + model.deformation(positions, z)
        pairs = None if near is None else listed(near)
        return elastic_energy(moved, edge_lengths(positions, edges), edges, share, pairs)

    def _tightness(self, gaussians: GaussianModel) -> Float[Array, ""]:
        """Hold amplitudes and widths weakly where they started."""
        rest = self.start.gaussians
        off = (gaussians.log_amplitude - rest.log_amplitude) ** 2
        off = off + (gaussians.log_width - rest.log_width) ** 2
        return jnp.sum(off) / (_LOOSENESS**2 * 0.5 * self.count * self.total)

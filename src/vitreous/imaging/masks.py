"""Masks of images and volumes: operators of place (Å from the centre), with edges outside.

Every mask is 1 in its region and falls to 0 along half a cosine of `edge` Å beyond it.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from vitreous.geometry.edges import falling_edge
from vitreous.imaging.grid import ImageGrid
from vitreous.imaging.operators import Operator, Scalar, as_real, radius


class RoundMask(Operator):
    """A disc of an image, a ball of a volume: at most `radius` Å from the centre."""

    radius: Scalar = eqx.field(converter=as_real)
    edge: Scalar = eqx.field(converter=as_real, default=0.0)

    def __call__(self, points: Float[Array, "... d"]) -> Float[Array, "..."]:
        """Evaluate at places."""
        return falling_edge(radius(points) - self.radius, self.edge)


class SquareMask(Operator):
    """A square of an image, a cube of a volume, of side `2 · half_width`."""

    half_width: Scalar = eqx.field(converter=as_real)
    edge: Scalar = eqx.field(converter=as_real, default=0.0)

    def __call__(self, points: Float[Array, "... d"]) -> Float[Array, "..."]:
        """Evaluate at places."""
        return falling_edge(jnp.max(jnp.abs(points), axis=-1) - self.half_width, self.edge)


class RectangleMask(Operator):
    """A rectangle of an image or a cuboid of a volume; `half_widths` along x, y[, z]."""

    half_widths: Float[Array | np.ndarray, " d"] = eqx.field(converter=as_real)
    edge: Scalar = eqx.field(converter=as_real, default=0.0)

    def __call__(self, points: Float[Array, "... d"]) -> Float[Array, "..."]:
        """Evaluate at places: distances beyond each side fall off one by one."""
        widths = jnp.asarray(self.half_widths).reshape(*(1,) * (points.ndim - 1), -1)
        return jnp.prod(falling_edge(jnp.abs(points) - widths, self.edge), axis=-1)


class CylinderMask(Operator):
    """The shadow of a cylinder, a filament for instance, that lies in the plane of an image.

    **Fields:** `radius` in Å. `angle`: of the axis from +x towards +y, degrees. `half_length`: Å
    along the axis, without end by default.
    """

    radius: Scalar = eqx.field(converter=as_real)
    angle: Scalar = eqx.field(converter=as_real, default=0.0)
    half_length: Scalar = eqx.field(converter=as_real, default=1e9)
    edge: Scalar = eqx.field(converter=as_real, default=0.0)

    def __call__(self, points: Float[Array, "... d"]) -> Float[Array, "..."]:
        """Evaluate at places of an image."""
        turn = self.angle * (np.pi / 180)
        x, y = points[..., 0], points[..., 1]
        along = jnp.abs(jnp.cos(turn) * x + jnp.sin(turn) * y)
        across = jnp.abs(jnp.cos(turn) * y - jnp.sin(turn) * x)
        beside = falling_edge(across - self.radius, self.edge)
        return beside * falling_edge(along - self.half_length, self.edge)


def inside(mask: Operator, grid: ImageGrid) -> Bool[Array, "n n"]:
    """Mark the pixels where a mask is 1: the region that statistics are taken over."""
    return mask(grid.coordinates()) >= 1


def normalize(
    images: Float[Array, "... n n"], region: Bool[Array | np.ndarray, "n n"]
) -> Float[Array, "... n n"]:
    """Give each image mean 0 and standard deviation 1 within a region.

    **Arguments:** `region`: True where pixels count. For particles, the background outside a
    disc; for templates, the disc itself.
    """
    share = jnp.asarray(region, images.dtype)
    share = (share / jnp.sum(share)).reshape(*(1,) * (images.ndim - 2), *share.shape)
    axes = (-2, -1)
    mean = jnp.sum(images * share, axis=axes, keepdims=True)
    variance = jnp.sum((images - mean) ** 2 * share, axis=axes, keepdims=True)
    return (images - mean) / jnp.sqrt(variance)

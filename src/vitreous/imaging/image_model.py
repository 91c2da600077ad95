"""The whole microscope: a specimen, where it is, and what happens on the way to an image.

Leave parts out for the stages before: a volume, a pose and a grid give beam integrals; optics turn
them into contrast; exposure and detector into electrons; noise makes a likelihood.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float

from vitreous.geometry.fourier import half_plane, image_from_half_plane
from vitreous.geometry.shift import crop_centered
from vitreous.imaging.detector import Detector
from vitreous.imaging.exposure import Exposure
from vitreous.imaging.formation import THEORIES, Theory, image_contrast, shift_factor
from vitreous.imaging.grid import ImageGrid
from vitreous.imaging.ice import GaussianIce
from vitreous.imaging.likelihood import fourier_log_likelihood
from vitreous.imaging.noise import GaussianNoise
from vitreous.imaging.operators import Numbers, Operator, as_real
from vitreous.imaging.optics.lens import Optics
from vitreous.imaging.optics.transfer import image_transfer
from vitreous.imaging.parameters import resolve
from vitreous.imaging.pose import Pose
from vitreous.imaging.projection.project import project
from vitreous.imaging.volumes.base import Volume


class ImageModel(eqx.Module):
    """A differentiable microscope. Any field may be replaced by `equinox.tree_at`.

    **Fields:** `volume`, `pose` (one, or a batch), `grid`. If not `None`: `optics`; `ice`, which
    `sample` draws and whose power joins that of the noise in `log_likelihood`; `exposure` and
    `detector`, which come together; `noise`, Gaussian, of the images as they are after filter.
    `scale` and `offset`: of images without a detector, one number or one an image. `filter` and
    `mask`: operators of frequency and of place. `theory`: `"linear"`,
    `"ewald"`, `"weak-phase"`, `"eikonal"` or `"multislice"` (of `slabs`), see `imaging.formation`.
    `method`: of `project`. `padding`: images are made this much wider, then cut down, so that what
    the CTF spreads does not wrap round.

    A leaf may also be a transform (`imaging.parameters`): it is resolved when a method is called.
    """

    volume: Volume
    pose: Pose
    grid: ImageGrid
    optics: Optics | None
    ice: GaussianIce | None
    exposure: Exposure | None
    detector: Detector | None
    noise: GaussianNoise | None
    scale: Float[Array, "..."]
    offset: Float[Array, "..."]
    filter: Operator | None
    mask: Operator | None
    theory: Theory = eqx.field(static=True)
    method: str = eqx.field(static=True)
    padding: float = eqx.field(static=True)
    slabs: int = eqx.field(static=True)

    def __init__(
        self,
        volume: Volume,
        pose: Pose,
        grid: ImageGrid,
        optics: Optics | None = None,
        *,
        ice: GaussianIce | None = None,
        exposure: Exposure | None = None,
        detector: Detector | None = None,
        noise: GaussianNoise | None = None,
        scale: Numbers = 1.0,
        offset: Numbers = 0.0,
        filter: Operator | None = None,
        mask: Operator | None = None,
        theory: Theory = "linear",
        method: str = "auto",
        padding: float = 1.0,
        slabs: int = 16,
    ) -> None:
        if theory not in THEORIES:
            raise ValueError(f"no theory {theory!r}; there are {', '.join(THEORIES)}")
        if optics is None and (theory != "linear" or ice is not None or detector is not None):
            raise ValueError("waves, ice and detectors need optics")
        if (exposure is None) != (detector is None):
            raise ValueError("exposure and detector come together")
        if detector is not None and filter is not None:
            raise ValueError("counts of a detector are not filtered: leave out filter or detector")
        if padding < 1:
            raise ValueError(f"padding must be at least 1, not {padding}")
        self.volume, self.pose, self.grid, self.optics = volume, pose, grid, optics
        self.ice, self.exposure, self.detector, self.noise = ice, exposure, detector, noise
        self.scale, self.offset = as_real(scale), as_real(offset)
        self.filter, self.mask = filter, mask
        self.theory, self.method, self.padding, self.slabs = theory, method, padding, slabs

    def render(self) -> Float[Array, "... n n"]:
        """Make noiseless images, without ice.

        **Returns:** beam integrals `∫U dz` (Å⁻¹) without optics; with optics the contrast
        `scale · CTF · η + offset`, white or dark as the optics say; with a detector the electrons
        it reads out on average. One image for a single pose, else as many as poses.
        """
        self._check()
        return _render(self)

    def sample(self, key: jax.Array) -> Float[Array, "... n n"]:
        """Draw images: ice, then electrons and Gaussian noise, of whatever the model has."""
        self._check()
        return _sample(self, key)

    def log_likelihood(self, observed: Float[Array, "... n n"]) -> Float[Array, "..."]:
        """Return the log-density of observed images, in nats, one number an image.

        **Arguments:** `observed`: images as `sample` makes them, already filtered; the mask is
        applied here to the difference. Gaussian noise under a mask is only nearly diagonal in
        Fourier space.

        **Raises:** `ValueError` if the model has neither noise nor detector, or both.
        """
        if (self.noise is None) == (self.detector is None):
            raise ValueError("a likelihood needs either Gaussian noise or a detector")
        if self.detector is not None and self.ice is not None:
            raise ValueError("a detector's likelihood knows no ice: leave it out")
        self._check()
        return _log_likelihood(self, observed)

    def power(self) -> Float[Array, "... n h"]:
        """Return `P(k)` of all that is random in the images: noise, and ice seen by the lens."""
        model, grid = resolve(self), self.grid
        if model.noise is None:
            raise ValueError("a model without noise has no power spectrum")
        power = model.noise.power_on(grid)
        if model.ice is None or model.optics is None:
            return power
        transfer = jnp.abs(image_transfer(model.optics, grid, model.pose.z_offset))
        transfer = transfer.reshape(-1, grid.box, grid.columns)
        factor = (model._per_image(model.scale) * transfer) ** 2
        if model.filter is not None:
            factor = factor * (model.filter(grid.frequencies()) ** 2)[None]
        ice = model.ice.power(grid)
        return power[None] + factor * ice.reshape(*(1,) * (3 - ice.ndim), *ice.shape)

    def _check(self) -> None:
        """Let the volume warn of what images cannot show, while values are still known."""
        model = resolve(self)
        model.volume.check(model._wide())

    def _batched(self) -> tuple["ImageModel", bool]:
        single = self.pose.batch == ()
        if not single:
            return self, False
        pose = jax.tree.map(lambda field: field[None], self.pose)
        return eqx.tree_at(lambda m: m.pose, self, pose), True

    def _per_image(self, values: Float[Array, "..."]) -> Float[Array, "..."]:
        """Give one number, or one an image, the axes of images."""
        return values.reshape(-1, 1, 1)

    def _wide(self) -> ImageGrid:
        return self.grid.padded(self.padding)

    def _contrast(self, ice_key: jax.Array | None) -> Complex[Array, "b n h"]:
        """Return half planes, on the padded grid, of ∫U dz or of the physical contrast C."""
        grid, pose, optics = self._wide(), self.pose, self.optics
        if optics is None:
            half = project(self.volume, pose.rotation, grid, self.method)
            return half * shift_factor(grid, pose.shift)
        ice = None
        if self.ice is not None and ice_key is not None:
            ice = self.ice.sample(ice_key, pose.shift.shape[0], grid)
        return image_contrast(
            self.volume, pose, grid, optics, self.theory, self.method, self.slabs, ice
        )

    def _images(self, ice_key: jax.Array | None) -> Float[Array, "b n n"]:
        half = self._contrast(ice_key)
        if self.optics is not None and self.optics.contrast == "white":
            half = -half
        wide = self._wide()
        if self.filter is not None:
            half = half * self.filter(wide.frequencies())[None].astype(half.dtype)
        images = crop_centered(image_from_half_plane(half, wide.box), self.grid.box, 2)
        images = images * self._per_image(self.scale) + self._per_image(self.offset)
        return self._masked(images)

    def _arriving(self, ice_key: jax.Array | None) -> Float[Array, "b n n"]:
        """Return the electrons that reach each pixel on average; the beam's are `dose · Δ²`."""
        assert self.exposure is not None
        contrast = image_from_half_plane(self._contrast(ice_key), self._wide().box)
        intensity = 1 + 2 * crop_centered(contrast, self.grid.box, 2)
        electrons = self.exposure.electrons(self.grid)
        return intensity * self._per_image(electrons)

    def _electrons(
        self, ice_key: jax.Array | None, key: jax.Array | None = None
    ) -> Float[Array, "b n n"]:
        assert self.detector is not None
        arriving = self._arriving(ice_key)
        if key is None:
            images = self.detector.read_out(self.detector.rate(arriving, self.grid), self.grid)
        else:
            images = self.detector.sample(key, arriving, self.grid)
        return self._masked(images)

    def _masked(self, images: Float[Array, "b n n"]) -> Float[Array, "b n n"]:
        if self.mask is None:
            return images
        return images * self.mask(self.grid.coordinates())[None]


# Compiled as a whole: called one operation at a time, a model takes seconds to start.
@eqx.filter_jit
def _render(model: ImageModel) -> Float[Array, "... n n"]:
    model, single = resolve(model)._batched()
    images = model._images(None) if model.detector is None else model._electrons(None)
    return images[0] if single else images


@eqx.filter_jit
def _sample(model: ImageModel, key: jax.Array) -> Float[Array, "... n n"]:
    model, single = resolve(model)._batched()
    ice_key, count_key, noise_key = jax.random.split(key, 3)
    if model.detector is None:
        images = model._images(ice_key)
    else:
        images = model._electrons(ice_key, count_key)
    if model.noise is not None:
        noise = model.noise.sample(noise_key, images.shape[0], model.grid)
        images = images + model._masked(noise)
    return images[0] if single else images


@eqx.filter_jit
def _log_likelihood(model: ImageModel, observed: Float[Array, "... n n"]) -> Float[Array, "..."]:
    model, single = resolve(model)._batched()
    observed = observed[None] if single else observed
    if model.detector is not None:
        value = model.detector.log_likelihood(observed, model._arriving(None), model.grid)
    else:
        residual = half_plane(model._masked(observed - model._images(None)))
        value = fourier_log_likelihood(residual, model.power())
    return value[0] if single else value

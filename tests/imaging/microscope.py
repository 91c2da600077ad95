"""A small molecule under the microscope, for the tests of image models."""

import jax.numpy as jnp
import numpy as np

from vitreous.imaging.grid import ImageGrid
from vitreous.imaging.image_model import ImageModel
from vitreous.imaging.optics.lens import Optics
from vitreous.imaging.pose import Pose
from vitreous.imaging.volumes.gaussian_volume import GaussianVolume

PIXEL = 2.5


def molecule(strength: float = 30.0, seed: int = 0, dtype=np.float32) -> GaussianVolume:
    """Twelve blobs of 2.5 to 3.5 Å within 12 Å of the origin, without symmetry."""
    rng = np.random.default_rng(seed)
    position = rng.normal(size=(12, 3))
    position *= 12 / np.linalg.norm(position, axis=1).max()
    amplitude = strength * rng.uniform(0.5, 1.5, (12, 1))
    variance = rng.uniform(2.5, 3.5, (12, 1)) ** 2
    return GaussianVolume(*(x.astype(dtype) for x in (position, amplitude, variance)))


def poses(count: int, seed: int = 1, dtype=np.float32) -> Pose:
    rng = np.random.default_rng(seed)
    quaternion = rng.normal(size=(count, 4)).astype(dtype)
    shift = rng.uniform(-4, 4, (count, 2)).astype(dtype)
    return Pose.from_quaternion(quaternion, shift, rng.uniform(-300, 300, count).astype(dtype))


def microscope(box: int = 20, count: int = 3, dtype=np.float32, **parts) -> ImageModel:
    """A linear model of a few images, each with its own defocus."""
    defocus = jnp.asarray(np.linspace(8000, 12000, count).astype(dtype))
    optics = Optics(defocus, defocus - 500, 30.0)
    grid = ImageGrid(box, PIXEL)
    return ImageModel(molecule(dtype=dtype), poses(count, dtype=dtype), grid, optics, **parts)

"""Maps, and places of Gaussians, at any latent of a flexible run: what the registry asks for."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from vitreous.methods.flexible.gaussian_model import draw_map_jitted
from vitreous.methods.flexible.run_files import HalfModel, load_flexible
from vitreous.training.run import Run


class GaussianDecoder:
    """Draw the moved Gaussians of a half's model, in the units of the stored images."""

    def __init__(self, model: HalfModel, box: int, pixel_size: float, scale: float) -> None:
        """**Arguments:** `scale`: of prepared pixels' units to those of the images."""
        self.model, self.box, self.pixel_size, self.scale = model, box, pixel_size, scale

    def __call__(self, z: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "m n n n"]:
        """Draw a volume a latent."""
        gaussians = self.model.gaussians
        moved = self.model.deformation(gaussians.positions, jnp.asarray(z, jnp.float32))
        volumes = [draw_map_jitted(gaussians, one, self.box, self.pixel_size) for one in moved]
        return np.stack([np.asarray(volume) * np.float32(self.scale) for volume in volumes])


def load_decoder(run: Run, epoch: int | None = None) -> GaussianDecoder:
    """Return the function from latents (in the frame of half 1) to volumes."""
    return half_decoder(run, 0, epoch)


def half_decoder(run: Run, half: int, epoch: int | None = None) -> GaussianDecoder:
    """Return the decoder of either half."""
    model = load_flexible(run, epoch).halves[half]
    scale = run.config["normalization"][1] * run.box
    return GaussianDecoder(model, run.box, run.pixel_size, scale)


class MovedGaussians(NamedTuple):
    """Hold where Gaussians rest, how far a latent moves them, and their widths, all in Å."""

    positions: Float[np.ndarray, "g 3"]
    displacements: Float[np.ndarray, "g 3"]
    widths: Float[np.ndarray, " g"]


def load_gaussians(
    run: Run, epoch: int | None = None
) -> Callable[[Float[np.ndarray, "1 d"]], MovedGaussians]:
    """Return the function from a latent (in the frame of half 1) to that half's Gaussians."""
    model = load_flexible(run, epoch).halves[0]
    positions, widths = model.gaussians.positions, np.asarray(model.gaussians.width)
    field = eqx.filter_jit(model.deformation)

    def at(z: Float[np.ndarray, "1 d"]) -> MovedGaussians:
        moved = field(positions, jnp.asarray(z, jnp.float32))[0]
        return MovedGaussians(np.asarray(positions), np.asarray(moved), widths)

    return at

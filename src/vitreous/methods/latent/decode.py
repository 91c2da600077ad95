"""Decode volumes from a run of a latent method."""

from collections.abc import Iterator
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from vitreous.errors import InputError
from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.methods.latent.config import config_from_dict
from vitreous.methods.latent.model import LatentMethod
from vitreous.methods.latent.state import LatentModel
from vitreous.reconstruction.masks import spherical_mask
from vitreous.training.checkpoint import fill_leaves
from vitreous.training.networks.decoder import (
    assemble_volumes,
    field_values,
    half_space_points,
)
from vitreous.training.networks.volume_family import VolumeFamily
from vitreous.training.run import Run


@partial(jax.jit, static_argnames=("box", "max_shell"))
def _assemble(values, consensus, support, scale, box: int, max_shell: int):
    index = half_space_points(box, max_shell)[0]
    return assemble_volumes(values, index, box, consensus, support) * scale


_field_values = jax.jit(field_values)


class FieldDecoder:
    """Decode volumes in the units of the stored images, white density positive."""

    def __init__(self, run: Run, method: LatentMethod, model: LatentModel) -> None:
        self.decoder, self.box = model.decoder, method.pixels.box
        self.max_shell = method.pixels.max_shell
        self.is_homogeneous = method.config.kind == "homogeneous"
        self._consensus = self._support = None
        if model.decoder.consensus is not None:
            self._consensus = jnp.asarray(method.foundation.consensus)
        if method.config.support:
            edge = max(3.0, 0.05 * self.box)
            radius = method.foundation.radius
            self._support = jnp.asarray(spherical_mask(self.box, radius, soft_edge=edge))
        self._scale = jnp.asarray(run.config["normalization"][1] * self.box, jnp.float32)

    def __call__(self, z: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "m n n n"]:
        """Decode a volume a latent; a homogeneous model gives its one map for each."""
        points = half_space_points(self.box, self.max_shell)[1]
        latent = None if self.is_homogeneous else jnp.asarray(z, jnp.float32)
        volumes = self._volumes(_field_values(self.decoder, latent, jnp.asarray(points)))
        return np.repeat(volumes, max(len(z), 1), axis=0) if self.is_homogeneous else volumes

    def many(
        self, z: Float[np.ndarray, "m d"], tolerance: float
    ) -> Iterator[Float[np.ndarray, "b n n n"]]:
        """Yield the volumes of many latents, a few at a time; see `VolumeFamily`."""

        def values(latent: np.ndarray, frequency: np.ndarray) -> np.ndarray:
            given = jnp.asarray(latent, jnp.float32), jnp.asarray(frequency)
            return np.asarray(_field_values(self.decoder, *given))

        family = VolumeFamily(values, self.box, self.max_shell, tolerance)
        for halves in family.halves(z):
            yield self._volumes(jnp.asarray(halves))

    def _volumes(self, values: jax.Array) -> Float[np.ndarray, "m n n n"]:
        made = _assemble(
            values, self._consensus, self._support, self._scale, self.box, self.max_shell
        )
        return np.asarray(made)


def decode_state(
    run: Run,
    method: LatentMethod,
    model: LatentModel,
    latent: Float[np.ndarray, "m d"] | None,
) -> Float[np.ndarray, "m n n n"]:
    """Decode volumes of a fit that is going on.

    **Arguments:** `latent`: one row a volume, None for a homogeneous model.
    """
    given = np.zeros((1, 0), np.float32) if latent is None else latent
    return FieldDecoder(run, method, model)(given)


def load_method(run: Run) -> LatentMethod:
    """Rebuild the method of a run from its folder.

    **Raises:** `InputError` if the run stopped before its foundation was laid.
    """
    from vitreous.methods.latent.fit import read_foundation

    config = config_from_dict(run.config["latent"])
    foundation = read_foundation(run)
    if foundation is None:
        raise InputError(f"{run.path}: has no foundation.npz: the run stopped before it began")
    limit = (run.box - 1) // 2
    pixels = FourierPixels(run.box, min(config.max_shell or limit, limit))
    return LatentMethod(config, foundation, pixels, int(run.config["images"]))


def load_model(run: Run, epoch: int | None = None) -> tuple[LatentMethod, LatentModel]:
    """Read the networks of a checkpoint."""
    method = load_method(run)
    shapes = eqx.filter_eval_shape(method.init, jax.random.key(0)).model
    arrays = run.checkpoints.load(run.checkpoints.at_epoch(epoch))
    return method, fill_leaves(shapes, arrays, prefix="model.")


def load_decoder(run: Run, epoch: int | None = None) -> FieldDecoder:
    """Return the function from latents to volumes of a run: what the registry asks for."""
    return FieldDecoder(run, *load_model(run, epoch))

"""Decode volumes from a run of a latent method."""

from collections.abc import Callable
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
from vitreous.training.networks.decoder import Decoder, decode_volumes
from vitreous.training.run import Run


@partial(jax.jit, static_argnames="max_shell")
def _decode(decoder: Decoder, latent, max_shell: int, consensus, support, scale):
    return decode_volumes(decoder, latent, max_shell, consensus, support) * scale


def decode_state(
    run: Run,
    method: LatentMethod,
    model: LatentModel,
    latent: Float[np.ndarray, "m d"] | None,
) -> Float[np.ndarray, "m n n n"]:
    """Decode volumes in the units of the stored images, white density positive.

    **Arguments:** `latent`: one row a volume, None for a homogeneous model.
    """
    box = method.pixels.box
    foundation = method.foundation
    has_consensus = model.decoder.consensus is not None
    support = None
    if method.config.support:
        edge = max(3.0, 0.05 * box)
        support = jnp.asarray(spherical_mask(box, foundation.radius, soft_edge=edge))
    volumes = _decode(
        model.decoder,
        None if latent is None else jnp.asarray(latent, jnp.float32),
        method.pixels.max_shell,
        jnp.asarray(foundation.consensus) if has_consensus else None,
        support,
        jnp.asarray(run.config["normalization"][1] * box, jnp.float32),
    )
    return np.asarray(volumes)


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


def load_decoder(
    run: Run, epoch: int | None = None
) -> Callable[[Float[np.ndarray, "m d"]], Float[np.ndarray, "m n n n"]]:
    """Return the function from latents to volumes of a run: what the registry asks for."""
    method, model = load_model(run, epoch)

    def decode(z: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "m n n n"]:
        if method.config.kind == "homogeneous":
            return np.repeat(decode_state(run, method, model, None), max(len(z), 1), axis=0)
        return decode_state(run, method, model, z)

    return decode

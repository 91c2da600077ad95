"""Read and decode checkpoints of cryoDRGN: `weights.N.pkl` with `config.yaml`.

Formats and conventions are those of cryoDRGN 4.3.
"""

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import yaml
from jaxtyping import Array, Float

from vitreous.errors import InputError
from vitreous.geometry.fourier import frequencies, ihartley_centered
from vitreous.particles.torch_archive import read_torch_archive
from vitreous.training.networks.positional_encoding import PositionalEncoding, axis_frequencies
from vitreous.training.networks.residual_mlp import Linear, ResidualMLP


@dataclass(frozen=True)
class PeerModel:
    """Hold a decoder of cryoDRGN.

    **Fields:** `network`, `encoding`: as in our decoders. `box`: D. `zdim`: 0 for a homogeneous
    model. `domain`. `scale`: standard deviation the images were divided by.
    """

    network: ResidualMLP
    encoding: PositionalEncoding
    box: int
    zdim: int
    domain: str
    scale: float

    def decode(self, latent: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "m n n n"]:
        """Decode volumes `(z, y, x)` as that program writes them."""
        if latent.shape[1] != self.zdim:
            raise InputError(f"the model has {self.zdim} latent dimensions, not {latent.shape[1]}")
        volumes = [
            _decode(self.network, self.encoding, jnp.asarray(z), self.box, self.domain)
            for z in latent.astype(np.float32)
        ]
        return np.stack([np.asarray(v) for v in volumes]) * np.float32(self.scale)


@partial(jax.jit, static_argnames=("box", "domain"))
def _decode(
    network: ResidualMLP, encoding: PositionalEncoding, z: Float[Array, " d"], box: int, domain: str
) -> Float[Array, "n n n"]:
    k = frequencies(box, 3)
    extent = (np.linalg.norm(k, axis=-1) <= box / 2 + 1e-3).astype(np.float32)

    def section(points: Float[Array, "p 3"]) -> Float[Array, " p"]:
        mirrored = points[:, 2] > 0
        folded = points if domain == "hartley" else jnp.where(mirrored[:, None], -points, points)
        condition = z[None] if z.shape[0] else None
        out = network(encoding(folded[None] / box), condition)[0]
        if domain == "hartley":
            return out[:, 0]
        return out[:, 0] - jnp.where(mirrored, -out[:, 1], out[:, 1])

    hartley = jax.lax.map(section, jnp.asarray(k.reshape(box, -1, 3))).reshape(box, box, box)
    if domain == "fourier":
        hartley = hartley * jnp.asarray(extent)
    return ihartley_centered(hartley, 3)


def load_peer_checkpoint(
    weights: str | os.PathLike, config: str | os.PathLike | None = None
) -> PeerModel:
    """Read a VAE, autodecoder or homogeneous checkpoint of cryoDRGN.

    **Arguments:** `config`: its `config.yaml`, by default the one beside the weights.

    **Raises:** `InputError` for files that are missing, broken, or of another kind of model.
    """
    config = Path(config) if config is not None else Path(weights).parent / "config.yaml"
    settings = _read_config(config)
    state = read_torch_archive(weights)
    if not isinstance(state, dict) or "model_state_dict" not in state:
        raise InputError(f"{weights}: holds no model_state_dict")
    tensors: dict[str, np.ndarray] = dict(state["model_state_dict"])
    try:
        model, box = settings["model_args"], int(settings["lattice_args"]["D"]) - 1
        zdim = int(model.get("zdim") or 0)
        kind = model["pe_type"]
        scale = float(settings["dataset_args"]["norm"][1])
    except (KeyError, TypeError, IndexError) as error:
        raise InputError(f"{config}: not a cryoDRGN config ({error} is missing)") from None
    prefix = _decoder_prefix(tensors, weights)
    count = int(model.get("pe_dim") or box // 2)
    order = np.arange(2 * 3 * count)
    if kind == "gaussian":
        name = prefix.removesuffix("decoder.") + "rand_freqs"
        name = name if name in tensors else next(n for n in tensors if n.endswith("rand_freqs"))
        matrix = tensors[name].T * (box / 2)
    elif kind == "none":
        matrix, order = None, np.arange(3)
    else:
        frequency = axis_frequencies(kind, box, count)
        matrix = np.kron(np.eye(3), frequency)
        # The peer lists sines and cosines axis by axis, we list all sines first.
        count = len(frequency)
        axis, index = np.divmod(np.arange(3 * count), count)
        order = np.concatenate([2 * count * axis + index, 2 * count * axis + count + index])
    encoding = PositionalEncoding(None if matrix is None else jnp.asarray(matrix, jnp.float32))
    network = _network(tensors, prefix, order, str(model.get("activation", "relu")))
    return PeerModel(network, encoding, box, zdim, str(model.get("domain", "fourier")), scale)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; give --config") from error
    except (yaml.YAMLError, UnicodeDecodeError):
        raise InputError(f"{path}: not YAML (older pickled configs are not read)") from None
    if not isinstance(settings, dict):
        raise InputError(f"{path}: not a cryoDRGN config")
    return settings


def _decoder_prefix(tensors: dict[str, np.ndarray], name: str | os.PathLike) -> str:
    for prefix in ("decoder.decoder.", "decoder.", ""):
        if f"{prefix}main.0.weight" in tensors or f"{prefix}main.0.linear.weight" in tensors:
            return prefix
    raise InputError(f"{name}: no decoder that is known here among its tensors")


def _network(
    tensors: dict[str, np.ndarray], prefix: str, order: np.ndarray, activation: str
) -> ResidualMLP:
    """Lay the peer's layers (`[out, in]`, at even positions) into one of our networks."""
    layers = []
    position = 0
    while True:
        for infix in ("", ".linear"):
            name = f"{prefix}main.{position}{infix}"
            if f"{name}.weight" in tensors:
                layers.append((tensors[f"{name}.weight"].T, tensors[f"{name}.bias"]))
                break
        else:
            break
        position += 2
    first = layers[0][0]
    layers[0] = (np.concatenate([first[order], first[len(order) :]]), layers[0][1])
    width, depth = layers[0][0].shape[1], len(layers) - 2
    network = ResidualMLP(
        len(first),
        layers[-1][0].shape[1],
        width,
        depth,
        key=jax.random.key(0),
        activation="leaky_relu" if activation == "leaky_relu" else "relu",
    )

    def put(layer: Linear, values: tuple[np.ndarray, np.ndarray]) -> Linear:
        arrays = tuple(jnp.asarray(v, jnp.float32) for v in values)
        return eqx.tree_at(lambda q: (q.weight, q.bias), layer, arrays)

    filled = tuple(put(a, b) for a, b in zip(network.layers, layers, strict=True))
    return eqx.tree_at(lambda n: n.layers, network, filled)

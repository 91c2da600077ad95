"""Volumes as functions of frequency and latent: a consensus map plus a neural field.

The transform of a volume with latent `z` at frequency `k` (cycles/box) is
`V(k, z) = V₀(k) + a(|k|) · f(k / D, z)`: `V₀` the consensus map (optional), `a` the radial
amplitude the field is scaled by, `f` a residual MLP on a positional encoding. All values are in
the units of prepared pixels, in which white noise has power 1.
"""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float, Int

from vitreous.geometry.fourier import frequencies, volume_from_half_space
from vitreous.imaging.fourier_grid import FourierGrid
from vitreous.imaging.slicing import rotated_frequencies, slice_grid
from vitreous.training.networks.positional_encoding import PositionalEncoding
from vitreous.training.networks.residual_mlp import ResidualMLP

Domain = Literal["fourier", "hartley"]


class Decoder(eqx.Module):
    """Hold a family of volumes.

    **Fields:** `network`: from encoded frequency (and latent) to 2 numbers (`fourier`: real and
    imaginary part) or 1 (`hartley`). `encoding`: the positional encoding. `amplitude`: radial
    scale per shell. `consensus`: Fourier grid of the mean map, or None. `box`: D.
    """

    network: ResidualMLP
    encoding: PositionalEncoding
    amplitude: Float[Array, " shells"]
    consensus: FourierGrid | None
    box: int = eqx.field(static=True)
    domain: Domain = eqx.field(static=True)

    def field(
        self, frequency: Float[Array, "#b p 3"], latent: Float[Array, "#b d"] | None
    ) -> Complex[Array, "b p"]:
        """Evaluate the neural part at frequencies in cycles/box.

        Frequencies of one row serve all latents, and are encoded once.

        Friedel's law holds by construction: the Fourier decoder is only asked in the half space
        kz ≤ 0, the Hartley decoder at both mates.
        """
        radius = jnp.sqrt(jnp.sum(frequency * frequency, axis=-1) + 1e-12)
        shells = jnp.arange(self.amplitude.shape[0], dtype=radius.dtype)
        amplitude = jnp.interp(radius, shells, jax.lax.stop_gradient(self.amplitude))
        if self.domain == "fourier":
            mirrored = _upper_half(frequency)
            folded = jnp.where(mirrored[..., None], -frequency, frequency)
            out = self._network(folded, latent)
            imaginary = jnp.where(mirrored, -out[..., 1], out[..., 1])
            return jax.lax.complex(out[..., 0] * amplitude, imaginary * amplitude)
        plus = self._network(frequency, latent)[..., 0]
        minus = self._network(-frequency, latent)[..., 0]
        half = 0.5 * amplitude
        return jax.lax.complex((plus + minus) * half, (minus - plus) * half)

    def _network(
        self, frequency: Float[Array, "#b p 3"], latent: Float[Array, "#b d"] | None
    ) -> Float[Array, "b p outputs"]:
        return self.network(self.encoding(frequency / self.box), latent)

    def slices(
        self,
        rotation: Float[Array, "b 3 3"],
        frequency: Float[Array, "p 2"],
        latent: Float[Array, "b d"] | None,
    ) -> Complex[Array, "b p"]:
        """Cut central slices: images before the CTF, centred, at `(kx, ky)` in cycles/box."""
        image = self.field(rotated_frequencies(rotation, frequency), latent)
        if self.consensus is not None:
            image = image + slice_grid(self.consensus, rotation, frequency)
        return image


def _upper_half(frequency: Float[Array, "... 3"]) -> Bool[Array, "..."]:
    """Tell which of a frequency and its mate is the one to fold away: exactly one of them."""
    x, y, z = (frequency[..., i] for i in range(3))
    return (z > 0) | ((z == 0) & ((y > 0) | ((y == 0) & (x > 0))))


def half_space_points(box: int, max_shell: int) -> tuple[np.ndarray, np.ndarray]:
    """List the half-space frequencies with radius up to `max_shell + ½`, without zero.

    **Returns:** flat index into `(box, box, box // 2 + 1)` and frequency `(kx, ky, kz)`.
    """
    k = frequencies(box, 3, half=True)
    radius = np.sqrt(np.sum(k * k, axis=-1))
    index = np.flatnonzero((radius > 0) & (radius <= max_shell + 0.5))
    return index.astype(np.int32), k.reshape(-1, 3)[index]


def decode_volumes(
    decoder: Decoder,
    latent: Float[Array, "m d"] | None,
    max_shell: int,
    consensus_map: Float[Array, "n n n"] | None,
    support: Float[Array, "n n n"] | None,
    rows: int = 2048,
) -> Float[Array, "m n n n"]:
    """Decode volumes `(z, y, x)` in real space, all together.

    **Arguments:** `latent`: one row a volume; None decodes one homogeneous volume. `max_shell`:
    outermost shell the field was trained on. `consensus_map`: the consensus in real space, added
    after the transform, so that no interpolation touches it. `support`: mask multiplied on.
    `rows`: see `field_values`.
    """
    index, points = half_space_points(decoder.box, max_shell)
    values = field_values(decoder, latent, jnp.asarray(points), rows)
    return assemble_volumes(values, index, decoder.box, consensus_map, support)


def field_values(
    decoder: Decoder,
    latent: Float[Array, "m d"] | None,
    points: Float[Array, "p 3"],
    rows: int = 2048,
) -> Complex[Array, "m p"]:
    """Evaluate the field of every latent at every point (cycles/box).

    **Arguments:** `rows`: of the network's layers at once, points times latents: so few that they
    stay in the cache. Points are encoded once for all latents.
    """
    count = 1 if latent is None else latent.shape[0]
    chunk = max(rows // max(count, 1), 32)
    padded = jnp.pad(points, ((0, -len(points) % chunk), (0, 0)))

    def piece(q: Float[Array, "c 3"]) -> Complex[Array, "m c"]:
        return decoder.field(q[None], latent)

    values = jnp.moveaxis(jax.lax.map(piece, padded.reshape(-1, chunk, 3)), 0, 1)
    return values.reshape(count, -1)[:, : len(points)]


def assemble_volumes(
    values: Complex[Array, "m p"],
    index: Int[np.ndarray, " p"],
    box: int,
    consensus_map: Float[Array, "n n n"] | None = None,
    support: Float[Array, "n n n"] | None = None,
) -> Float[Array, "m n n n"]:
    """Return from values in the half space to volumes; see `decode_volumes`.

    **Arguments:** `index`: where the values lie, see `half_space_points`.
    """

    def one(own: Complex[Array, " p"]) -> Float[Array, "n n n"]:
        half = jnp.zeros(box * box * (box // 2 + 1), jnp.complex64).at[index].set(own)
        volume = volume_from_half_space(half.reshape(box, box, -1), box)
        if consensus_map is not None:
            volume = volume + consensus_map
        return volume if support is None else volume * support

    return jax.lax.map(one, values)

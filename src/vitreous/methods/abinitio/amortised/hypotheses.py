"""What an encoder says of an image: a few poses with their odds and widths, and a latent.

Each hypothesis is a density over poses: on SO(3) the isotropic matrix Fisher density
`p(R) = exp(−κ (1 − cos θ)) / Z(κ)`, `θ` the angle to its centre, `Z = e^{−κ} (I₀(κ) − I₁(κ))`; in
the plane a Gaussian. Their mixture is the posterior that the encoder learns.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vitreous.geometry.rotations import sixd_to_matrix

Assignment = Literal["mixture", "winner"]

# Numbers a head gives: 6 of the rotation, 2 of the shift, odds, log κ, log σ of the shift.
_NUMBERS = 11
_NARROWEST, _WIDEST = 2000.0, 1.0
# The typical width of a fresh head, so that all heads learn at first.
_FIRST_KAPPA = 7.0


class Hypotheses(NamedTuple):
    """Hold `m` hypotheses an image.

    **Fields:** `rotation`: volume to image. `shift`: pixels of the small box. `log_odds`:
    normalised. `kappa`: concentration of the rotation, 1 / rad². `spread`: of the shift, pixels.
    """

    rotation: Float[Array, "b m 3 3"]
    shift: Float[Array, "b m 2"]
    log_odds: Float[Array, "b m"]
    kappa: Float[Array, "b m"]
    spread: Float[Array, "b m"]


class Layout(NamedTuple):
    """Say what the outputs of an encoder mean.

    **Fields:** `heads`: hypotheses. `zdim`: of the latent, 0 for none. `is_variational`: the
    latent comes with a log-variance.
    """

    heads: int = 4
    zdim: int = 0
    is_variational: bool = False

    @property
    def size(self) -> int:
        """Number of outputs."""
        return self.heads * _NUMBERS + self.latent_size

    @property
    def latent_size(self) -> int:
        """Number of outputs about the latent."""
        return self.zdim * (2 if self.is_variational else 1)

    def hypotheses(self, outputs: Float[Array, "b outputs"], reach: Float[Array, ""]) -> Hypotheses:
        """Read the hypotheses; `reach` (pixels) is the unit of shifts."""
        numbers = outputs[:, : self.heads * _NUMBERS].reshape(-1, self.heads, _NUMBERS)
        kappa = jnp.clip(_FIRST_KAPPA * jnp.exp(numbers[..., 9]), _WIDEST, _NARROWEST)
        spread = reach * jnp.exp(jnp.clip(numbers[..., 10] - 1.0, -5.0, 1.0))
        return Hypotheses(
            # Away from 0, where a direction has no meaning.
            sixd_to_matrix(numbers[..., :6] + 1e-6),
            numbers[..., 6:8] * reach,
            jax.nn.log_softmax(numbers[..., 8], axis=-1),
            kappa,
            spread,
        )

    def latent(
        self, outputs: Float[Array, "b outputs"]
    ) -> tuple[Float[Array, "b d"], Float[Array, "b d"] | None]:
        """Read mean and raw log-variance of the latent."""
        numbers = outputs[:, self.heads * _NUMBERS :]
        if not self.is_variational:
            return numbers, None
        return numbers[:, : self.zdim], numbers[:, self.zdim :]


def squared_chord(
    first: Float[Array, "... 3 3"], second: Float[Array, "... 3 3"]
) -> Float[Array, "..."]:
    """Return `2 (1 − cos θ)`, the square of the angle in radians where it is small."""
    return 0.5 * jnp.sum((first - second) ** 2, axis=(-2, -1))


def log_normaliser(kappa: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return `log Z(κ)` of the rotation density, relative to the uniform one.

    **Source:** `Z = 1/π ∫₀^π (1 − cos θ) exp(−κ (1 − cos θ)) dθ`, the Haar measure of angles.
    """
    return jnp.log(jax.scipy.special.i0e(kappa) - jax.scipy.special.i1e(kappa))


def pose_loss(
    found: Hypotheses,
    rotation: Float[Array, "b 3 3"],
    shift: Float[Array, "b 2"],
    group: Float[np.ndarray, "s 3 3"],
    assignment: Assignment,
) -> Float[Array, " b"]:
    """Score hypotheses against true poses: minus the log of their density there.

    **Arguments:** `group`: rotations that leave the volume unchanged: poses `R S` are all true.
    `assignment`: `"mixture"` sums over heads, each weighted by its odds; `"winner"` takes the
    nearest head's chord and shift only, and teaches the odds which head that was.
    """
    copies = jnp.einsum("bij,sjk->bsik", rotation, jnp.asarray(group, rotation.dtype))
    chord = squared_chord(found.rotation[:, :, None], copies[:, None])
    square = jnp.sum((found.shift - shift[:, None]) ** 2, axis=-1)
    if assignment == "winner":
        chord = jnp.min(chord, axis=-1)
        fixed = jax.lax.stop_gradient(found.spread)
        distance = chord + 0.1 * square / fixed**2
        winner = jnp.argmin(distance, axis=-1)[:, None]
        nearest = jnp.take_along_axis(chord + 0.1 * square, winner, axis=1)[:, 0]
        odds = jnp.take_along_axis(found.log_odds, winner, axis=1)[:, 0]
        return nearest - 0.1 * odds
    centre = -0.5 * found.kappa[..., None] * chord
    centre = jax.nn.logsumexp(centre, axis=-1) - np.log(len(group)).item()
    plane = -0.5 * square / found.spread**2 - 2 * jnp.log(found.spread)
    density = found.log_odds + centre - log_normaliser(found.kappa) + plane
    return -jax.nn.logsumexp(density, axis=-1)

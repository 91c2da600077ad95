"""Latents and corrections of poses together: what an image tells of one depends on the other.

A molecule that turns as a whole looks much like one that bends. Steps go along both at once, and
the model learns from both drawn from their common posterior: poses of little certainty are as bad
a teacher as such latents.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Key

from vitreous.geometry.rotations import rotation_vector_to_matrix
from vitreous.geometry.shift import phase_shift
from vitreous.methods.flexible.images import Images
from vitreous.methods.flexible.inference import Linearised, draw_latents, find_latents
from vitreous.methods.flexible.state import Moving
from vitreous.particles.prepare import Batch
from vitreous.reconstruction.foundation import known_rotation, pixel_frequencies

# Places along both that are looked at in a step, and what holds latents of a molecule at rest.
_PLACES, _HELD = 3, 1e8


class Told(NamedTuple):
    """Hold latents and corrections of poses (degrees, Å): the likeliest, and drawn ones."""

    z: Float[Array, "b d"]
    poses: Float[Array, "b 5"]
    drawn: Float[Array, "b d"]
    drawn_poses: Float[Array, "b 5"]


class Posing:
    """Improve latents and poses of a batch under one half's model."""

    def __init__(
        self,
        images: Images,
        batch: Batch,
        noise: Float[Array, "o shells"],
        spread: tuple[float, float],
        prior: float,
    ) -> None:
        """**Arguments:** `spread`: expected errors, degrees (each axis) and Å. `prior`: precision
        of the latents'."""
        self.images, self.batch, self.noise = images, batch, noise
        self.spread, self.prior = spread, prior
        self.scale = np.repeat(np.asarray(spread, np.float32), (3, 2))

    def improve(
        self,
        model: Moving,
        z: Float[Array, "b d"],
        poses: Float[Array, "b 5"],
        moves: Float[Array, ""],
        key: Key[Array, ""],
    ) -> Told:
        """Take steps along latents and poses.

        **Arguments:** `moves`: 1, or 0 for a molecule at rest, of which poses alone are improved.
        """
        d = z.shape[1]
        scale = jnp.asarray(self.scale)[None]
        held = jnp.where(moves > 0, self.prior, _HELD)
        prior = jnp.concatenate([jnp.broadcast_to(held, (d,)), jnp.ones(5)])
        linear, observed = self.linearise(model, d)
        start = jnp.concatenate([z * moves, poses / scale], axis=1)
        found = find_latents(linear, observed, start, prior, _PLACES)
        drawn = draw_latents(found, found.mean, jax.random.normal(key, start.shape))
        return Told(
            jnp.where(moves > 0, found.mean[:, :d], z),
            found.mean[:, d:] * scale,
            drawn[:, :d] * moves,
            drawn[:, d:] * scale,
        )

    def linearise(self, model: Moving, d: int) -> tuple[Linearised, Complex[Array, "b p"]]:
        """Return how images depend on latents and, in units of the spread, on poses; and these."""
        batch, renderer = self.batch, self.images.renderer
        seen, given = self.images.see(batch, self.noise), known_rotation(batch)
        frequency = pixel_frequencies(batch, self.images.band)
        stretch = seen.stretch[:, None, None]
        gaussians, field = model.gaussians, model.deformation
        unit = np.deg2rad(self.spread[0])

        def both(y: Float[Array, "b k"]):
            z, off = y[:, :d], y[:, d:] * jnp.asarray(self.scale)[None]
            turn = rotation_vector_to_matrix(off[:, :3])
            rotation = jnp.einsum("bij,bjk->bik", turn, given, precision="highest")
            moved, along = jax.linearize(lambda z: field(gaussians.positions, z), z)
            axes = jnp.eye(d, dtype=z.dtype)
            bends = jax.vmap(lambda one: along(jnp.broadcast_to(one, z.shape)))(axes)
            atoms = gaussians.atoms(moved)
            atoms = atoms._replace(position=atoms.position * stretch)
            # exp([ω]×) R x = R (x + Rᵀω × x) to first order; rows of R are Rᵀ of the axes.
            turns = jnp.cross(
                jnp.swapaxes(rotation, 0, 1)[:, :, None], jnp.asarray(atoms.position)[None]
            )
            directions = jnp.concatenate([bends * stretch[None], turns * unit])
            phase = phase_shift(frequency, off[:, 3:])
            factor = phase * seen.filter.astype(phase.dtype)
            value = renderer(atoms, rotation) * factor
            slopes = renderer.slopes(atoms, rotation, directions) * factor[None]
            ramp = jnp.moveaxis(-2 * np.pi * self.spread[1] * frequency, -1, 0)
            shifts = jax.lax.complex(jnp.zeros_like(ramp), ramp) * value[None]
            return value, jnp.concatenate([slopes, shifts])

        return both, seen.observed

"""A small molecule of two domains on a hinge, with its true motion at every point.

For trials of methods that find and undo motion: the images are closed forms, and so is the field
that moved the molecule, as modes and weights.
"""

from dataclasses import dataclass
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from vitreous.imaging.gaussians import in_pieces
from vitreous.particles.table import ParticleTable
from vitreous.simulation.blobs import MemoryImages
from vitreous.simulation.layout import cut_into_parts
from vitreous.simulation.optics import Optics
from vitreous.simulation.particles import simulate_particles
from vitreous.simulation.phantom import Hinge
from vitreous.simulation.population import ParticleOptions, draw_particles, particle_table
from vitreous.simulation.rendering import Renderer, plan_exposure
from vitreous.simulation.specimen import HingeMotion

# Pseudo-atoms, semi-axes and centre (Å) of the domain that rests and of the one that turns.
_REST = (120, (26.0, 18.0, 17.0), (0.0, 0.0, -18.0))
_TURNS = (80, (14.0, 17.0, 15.0), (3.0, 0.0, 18.0))
_AXIS = (1.0, 0.0, 0.0)
_APART = 4.0  # Å between pseudo-atoms, at least
_AMPLITUDE = 20.0  # Å, some six residues
# Points worked on at a time when their share of a domain is found.
_CHUNK = 4096


@dataclass(frozen=True)
class HingeTrial:
    """Say what a trial set is like.

    **Arguments:** `box` and `pixel_size` (Å). `count`: images. `spread`: the hinge's angle lies
    evenly within ± so many degrees; 0 for a rigid molecule. `snr`: over the whole box, None for
    no noise. `sigma` and `pivot` (Å): of the pseudo-atoms, and of the hinge, see `two_domains`.
    `max_shift` (Å). `defocus` (Å), or None for images without a CTF. `seed`: of angles, poses and
    noise.
    """

    box: int = 32
    pixel_size: float = 4.0
    count: int = 480
    spread: float = 25.0
    snr: float | None = 0.5
    sigma: float = 5.2
    pivot: float = 1.0
    max_shift: float = 0.0
    defocus: tuple[float, float] | None = (10000.0, 20000.0)
    seed: int = 0

    @property
    def motion(self) -> HingeMotion:
        """The molecule and how it moves, as a specimen."""
        molecule = two_domains(self.sigma, self.pivot)
        states = 5 if self.spread else 1
        return HingeMotion(molecule, self.box, self.pixel_size, -self.spread, self.spread, states)

    @property
    def options(self) -> ParticleOptions:
        """The images, as the simulation takes them."""
        optics = None if self.defocus is None else Optics(defocus=self.defocus, astigmatism=0.0)
        return ParticleOptions(
            self.count, self.snr, max_shift=self.max_shift, optics=optics, seed=self.seed
        )


# Trials of the study of deformation-based methods: of finding a motion, and of undoing it.
FINDING = HingeTrial()
UNDOING = HingeTrial(48, 2.0, 1000, spread=15.0, snr=0.2, sigma=2.2, pivot=-18.0)


class HingeField(eqx.Module):
    """Say how far every point of space moves as a hinge turns: `δ = Σ_k w_k φ_k(p)`, two modes.

    A point moves with the arm by the arm's share of the density there; on the pseudo-atoms of arm
    and body, but for those beside the seam, that is all and nothing.
    """

    hinge: Hinge

    def share(self, points: Float[Array, "m 3"]) -> Float[Array, " m"]:
        """Return the arm's share of the density at points (Å from the box centre), 0 to 1."""
        body, arm = self.hinge.body, self.hinge.arm

        def density(x: Float[Array, "c 3"], atoms: Float[Array, "a 3"]) -> Float[Array, " c"]:
            square = jnp.sum((x[:, None] - atoms[None]) ** 2, axis=-1)
            # In logarithms: far away both densities are 0, and one is still the larger.
            return jax.nn.logsumexp(square * (-0.5 / self.hinge.sigma**2), axis=-1)

        def part(x: Float[Array, "c 3"]) -> Float[Array, " c"]:
            return jax.nn.sigmoid(density(x, arm) - density(x, body))

        return jax.lax.map(part, in_pieces(points, _CHUNK)).reshape(-1)[: len(points)]

    def modes(self, points: Float[Array, "m 3"]) -> Float[Array, "m k 3"]:
        """Return what one unit of each weight moves points by, Å."""
        axis = jnp.broadcast_to(self.hinge.axis, points.shape)
        along = jnp.cross(axis, points - self.hinge.pivot[None])
        modes = jnp.stack([along, jnp.cross(axis, along)], axis=1)
        return self.share(points)[:, None, None] * modes

    def weights(self, z: Float[Array, "b 1"]) -> Float[Array, "b k"]:
        """Return the weights of the modes at hinge angles `z` in degrees (Rodrigues' formula)."""
        turn = jnp.deg2rad(z[:, 0])
        return jnp.stack([jnp.sin(turn), 1 - jnp.cos(turn)], axis=1)

    def __call__(
        self, points: Float[Array, "m 3"], z: Float[Array, "b 1"]
    ) -> Float[Array, "b m 3"]:
        """Return displacements in Å of points (Å) at hinge angles (degrees); 0 at 0."""
        return jnp.einsum("bk,mkx->bmx", self.weights(z), self.modes(points), precision="highest")


@dataclass(frozen=True, eq=False)
class HingeSet:
    """Hold a particle set in memory, and the truth about it.

    **Fields:** `table`: with true poses and half sets. `source`: the images. `angle` of each image
    in degrees. `motion`: what was imaged.
    """

    table: ParticleTable
    source: MemoryImages
    angle: Float[np.ndarray, " n"]
    motion: HingeMotion

    @property
    def hinge(self) -> Hinge:
        """The molecule."""
        return self.motion.hinge

    @property
    def field(self) -> HingeField:
        """The true displacement of any point; `z` is the angle in degrees, `(b, 1)`."""
        return HingeField(self.hinge)

    @property
    def position(self) -> Float[np.ndarray, "m 3"]:
        """Where the pseudo-atoms rest (angle 0), Å: first those of the body, then of the arm."""
        return np.concatenate([np.asarray(self.hinge.body), np.asarray(self.hinge.arm)])

    @property
    def moving(self) -> Bool[np.ndarray, " m"]:
        """Which pseudo-atoms turn."""
        return np.arange(len(self.position)) >= len(self.hinge.body)

    def displacement(self, angle: Float[np.ndarray, " b"]) -> Float[np.ndarray, "b m 3"]:
        """Return how far each pseudo-atom is moved at hinge angles in degrees, Å."""
        at = self.hinge.at(jnp.asarray(angle, jnp.float32)).position
        return np.asarray(at) - self.position[None]

    def volume(self, angle: float = 0.0) -> Float[np.ndarray, "b b b"]:
        """Return the map at a hinge angle in degrees, `(z, y, x)`."""
        motion = self.motion
        one = HingeMotion(motion.hinge, motion.box, motion.pixel_size, angle, angle, 1)
        return one.volumes()[0]


def two_domains(sigma: float = 5.2, pivot: float = 1.0, seed: int = 0) -> Hinge:
    """Build the molecule: 120 pseudo-atoms that rest, 80 that turn about a line along x.

    **Arguments:** `sigma` (Å): of every pseudo-atom. `pivot` (Å): height of that line; at 1, where
    the domains meet, what turns lies 20 Å (rms) off it, at -18, amid the resting one, 38 Å. `seed`:
    of the places.

    **Source:** the two-domain trials of the study of deformation-based methods: within ±25° and
    about a pivot at 1 the arm moves by 1.25 pixels of 4 Å, root mean square.
    """
    rng = np.random.default_rng(seed)
    parts = (_scattered(rng, *_REST), _scattered(rng, *_TURNS), (0.0, 0.0, pivot), _AXIS)
    body, arm, line, axis = (jnp.asarray(part, jnp.float32) for part in parts)
    return Hinge(body, arm, line, axis, _AMPLITUDE, sigma)


def hinge_set(trial: HingeTrial = FINDING) -> HingeSet:
    """Simulate a trial set in memory, with the same images as `write_hinge_set` leaves."""
    motion, options = trial.motion, trial.options
    particles = draw_particles(motion, options)
    renderer = Renderer(motion, particles, options, plan_exposure(motion, particles, options))
    images = np.concatenate([images for _, images in renderer.images(0, trial.count)])
    table = particle_table(motion, particles, cut_into_parts(trial.count), Path("memory"))
    assert particles.coordinate is not None
    return HingeSet(table, MemoryImages(images), particles.coordinate, motion)


def write_hinge_set(folder: str | Path, trial: HingeTrial = FINDING) -> ParticleTable:
    """Simulate a trial set into a folder: `particles.star` (poses, half sets), `truth.npz` …

    See `simulate_particles`; `t` of `truth.npz` is the angle of each image.
    """
    return simulate_particles(trial.motion, folder, trial.options)


def _scattered(
    rng: np.random.Generator,
    count: int,
    axes: tuple[float, float, float],
    centre: tuple[float, float, float],
) -> Float[np.ndarray, "m 3"]:
    """Scatter points in an ellipsoid, none too near another."""
    points: list[np.ndarray] = []
    while len(points) < count:
        one = rng.uniform(-1, 1, 3)
        place = one * axes + centre
        near = points and np.min(np.linalg.norm(np.array(points) - place, axis=1)) < _APART
        if one @ one <= 1 and not near:
            points.append(place)
    return np.array(points)

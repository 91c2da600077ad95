"""How far two models agree that saw no image in common: the honest error of a motion.

The latents of every image are found under both models, the other half's with that decoder frozen;
then both say how far each Gaussian of half 1 has moved.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Int32

from vitreous.files import atomic_path
from vitreous.methods.flexible.images import Seen
from vitreous.methods.flexible.inference import Posterior, best_of, find_latents
from vitreous.methods.flexible.model import FlexibleMethod
from vitreous.methods.flexible.pose_frame import features
from vitreous.methods.flexible.state import FlexibleState, Moving, half_of
from vitreous.particles.device_data import local
from vitreous.particles.loader import PreparedImages
from vitreous.particles.order import Groups
from vitreous.particles.prepare import Batch
from vitreous.particles.processes import gather_rows, of_every_process, own_share
from vitreous.training.evaluate import map_images
from vitreous.training.run import Latents, Run

AGREEMENT_FILE = "agreement.npz"
# Steps from each of a few places, then from the best of them.
_SEARCH, _DESCENT, _PLACES = 3, 4, 3
# Images that are searched for so in a set of more.
_SEARCHED = 512
_BATCH = 64
# Gaussians compared, at most, and images held at a time.
_COMPARED = 2000


class Agreement(NamedTuple):
    """Hold what two half sets make of one another's images.

    **Fields:** `correlation` of both fields over all images and Gaussians, `slope` of half 2's on
    half 1's; `motion`, `error`: root mean square displacement and disagreement (÷ √2: of one
    model) in Å, over all, then per particle and per Gaussian of half 1.
    """

    correlation: float
    slope: float
    motion: float
    error: float
    particle_motion: Float[np.ndarray, " n"]
    particle_error: Float[np.ndarray, " n"]
    gaussian_motion: Float[np.ndarray, " g"]
    gaussian_error: Float[np.ndarray, " g"]


def all_latents(
    method: FlexibleMethod, state: FlexibleState, data: PreparedImages
) -> tuple[Latents, Latents]:
    """Find the latents of all images of the fit under either half's model.

    The search for an image's own latent begins with that. Under the other half's model it begins
    with the same numbers, for the frames may have begun as one, or with what that half's encoder
    says; without one, with what some images, which are searched for, tell of how one frame goes
    over into the other. The place where the image is likeliest is taken.
    """
    count = len(method.half)
    if count <= _SEARCHED and state.taught is None:
        return infer_latents(method, state, data)
    own = np.asarray(state.latents)[:count]
    known = [np.stack([own, own])]
    if state.taught is None:
        rows = np.sort(np.random.default_rng(0).choice(count, _SEARCHED, replace=False))
        some = infer_latents(method, state, data, rows=rows.astype(np.int32))
        known.append(np.stack([_carried(method, own, rows, some, half) for half in range(2)]))
    return infer_latents(method, state, data, known=np.stack(known))


def _carried(
    method: FlexibleMethod,
    own: Float[np.ndarray, "n d"],
    rows: Int[np.ndarray, " m"],
    some: tuple[Latents, Latents],
    half: int,
) -> Float[np.ndarray, "n d"]:
    """Carry latents over to a half's frame, by those of some images in both."""
    is_own = method.half == half
    pairs = ~is_own[rows]
    seen = features(own[rows[pairs]])
    ridge = 1e-2 * len(seen) * np.eye(seen.shape[1])
    weights = np.linalg.solve(seen.T @ seen + ridge, seen.T @ some[half].mean[pairs])
    known = own.copy()
    known[~is_own] = features(own[~is_own]) @ weights
    return known


def infer_latents(
    method: FlexibleMethod,
    state: FlexibleState,
    data: PreparedImages,
    known: Float[np.ndarray, "k 2 n d"] | None = None,
    rows: Int32[np.ndarray, " m"] | None = None,
) -> tuple[Latents, Latents]:
    """Find the latents of images under either half's model, which are kept as they are.

    The search begins where an image is likeliest: at what the encoder says, or at a few latents of
    that half's own images, far from one another. Without an encoder and `known` places all of these
    latents are searched from.

    **Arguments:** `known`: places under either model that are tried, too. `rows`: of these images
    only.
    """
    own = np.asarray(state.latents)[: len(method.half)]
    marks = np.stack([landmarks(own[method.half == half]) for half in range(2)])
    models, rest = eqx.partition((state.model, state.taught), eqx.is_array)

    def find(given, batch: Batch):
        models, noise, poses, marks, known = given
        correction = None if poses is None else poses[batch.index]
        seen = method.images.see(batch, noise, correction)

        def under(arrays, marks, known):
            model, taught = eqx.combine(arrays, rest)
            search = Search(method, model, seen)
            places = [] if known is None else [known[:, batch.index]]
            if taught is not None:
                lifted = method.encoding.lifted(model.gaussians, seen)
                places.append(taught.encoder(lifted, seen.rotation)[None])
                spread = (len(marks), *places[-1].shape[1:])
                places.append(jnp.broadcast_to(marks[:, None], spread))
            elif known is None:
                places.append(search.from_marks(marks))
            steps = _DESCENT if known is not None or taught is None else _SEARCH + _DESCENT
            found = search.descend(jnp.concatenate(places), steps)
            precision = jnp.diagonal(found.precision, axis1=-2, axis2=-1)
            return jnp.stack([found.mean, -jnp.log(precision)])

        axes = (0, 0, None if known is None else 1)
        return jnp.moveaxis(jax.vmap(under, in_axes=axes)(models, marks, known), 2, 0)

    poses = None if state.poses is None else state.poses.values
    guesses = None if known is None else jnp.asarray(known)
    given = (models, state.noise, poses, jnp.asarray(marks), guesses)
    groups = None
    if rows is not None:
        groups = Groups(rows[:, None], np.ones((len(rows), 1), np.float32))
    found = map_images(find, given, data, _BATCH, groups)
    first, second = (Latents(found[:, half, 0], found[:, half, 1]) for half in range(2))
    return first, second


class Search:
    """Search for the latents of a batch under a model."""

    def __init__(self, method: FlexibleMethod, model: Moving, seen: Seen) -> None:
        self.predict = method.images.predict(model, seen)
        self.linearise = method.images.linearise(model, seen)
        self.observed, self.prior = seen.observed, method.config.kld

    def from_marks(self, marks: Float[Array, "c d"]) -> Float[Array, "1 b d"]:
        """Take a few steps from each of some latents; return the best places."""

        def one(mark: Float[Array, " d"]):
            z = jnp.broadcast_to(mark, (len(self.observed), len(mark)))
            return find_latents(self.linearise, self.observed, z, self.prior, _SEARCH)

        tried = jax.lax.map(one, marks)
        best = jnp.argmin(tried.energy, axis=0)
        return jnp.take_along_axis(tried.mean, best[None, :, None], axis=0)

    def descend(self, places: Float[Array, "k b d"], steps: int) -> Posterior:
        """Descend from the likeliest of some places."""
        z = places[0]
        if len(places) > 1:
            z = best_of(self.predict, self.observed, places, self.prior)
        return find_latents(self.linearise, self.observed, z, self.prior, steps)


def landmarks(latents: Float[np.ndarray, "m d"], count: int = _PLACES) -> Float[np.ndarray, "c d"]:
    """Choose latents that lie far from one another, the middle first."""
    chosen = [np.median(latents, axis=0)]
    # The outermost are outliers, as a rule.
    inner = np.linalg.norm(latents - chosen[0], axis=1)
    pool = latents[inner <= np.quantile(inner, 0.9)]
    while len(chosen) < count:
        distance = np.min([np.linalg.norm(pool - one, axis=1) for one in chosen], axis=0)
        chosen.append(pool[int(np.argmax(distance))])
    return np.array(chosen, np.float32)


def compare_halves(
    state: FlexibleState, first: Float[np.ndarray, "n d"], second: Float[np.ndarray, "n d"]
) -> Agreement:
    """Compare both models' fields at Gaussians of half 1, for all images.

    Each process looks at its share of them.

    **Arguments:** `first`, `second`: latents of all images under either model.
    """
    models = [half_of(local(state.model), half) for half in range(2)]
    positions = models[0].gaussians.positions
    points = positions[:: -(-len(positions) // _COMPARED)]
    move = jax.jit(lambda model, z: model.deformation(points, z))
    rows = own_share(len(first))
    # Of both fields: their product, either's square, and that of their difference.
    of_particles, of_gaussians = [], np.zeros((4, len(points)))
    for start in range(rows.start, rows.stop, _BATCH):
        part = slice(start, min(start + _BATCH, rows.stop))
        one, two = (
            np.asarray(move(m, jnp.asarray(z[part])), np.float64)
            for m, z in zip(models, (first, second), strict=True)
        )
        moments = np.stack([x.sum(-1) for x in (one * two, one**2, two**2, (one - two) ** 2)])
        of_particles.append(moments.mean(2).T)
        of_gaussians += moments.sum(1)
    n, mine = len(first), np.concatenate(of_particles)
    cross, left, right, off = _gathered(mine, n).T
    by_gaussian = of_gaussians / n
    if jax.process_count() > 1:
        by_gaussian = np.sum(of_every_process(by_gaussian.astype(np.float32)), axis=0)
    every = (left + right, off, by_gaussian[1] + by_gaussian[2], by_gaussian[3])
    return Agreement(
        float(cross.sum() / np.sqrt(left.sum() * right.sum() + 1e-30)),
        float(cross.sum() / (left.sum() + 1e-30)),
        float(np.sqrt((left + right).mean() / 2)),
        float(np.sqrt(off.mean() / 2)),
        *(np.sqrt(x / 2).astype(np.float32) for x in every),
    )


def _gathered(mine: Float[np.ndarray, "m 4"], count: int) -> Float[np.ndarray, "n 4"]:
    """Put the rows of all processes together."""
    # No 64-bit numbers on the way.
    return mine if jax.process_count() == 1 else gather_rows(mine.astype(np.float32), count)


def write_agreement(run: Run, agreement: Agreement, second: Latents) -> None:
    """Keep the comparison, and all latents under half 2's model: `agreement.npz`."""
    arrays = {**agreement._asdict(), "latents_half2": second.mean}
    with atomic_path(run.path / AGREEMENT_FILE) as temporary:
        np.savez(temporary, **arrays)  # type: ignore[arg-type]

"""Decode many volumes of one neural field: a few in full, the others by what they share with them.

The volumes of a latent space differ in far fewer ways than it has points. Each is evaluated on the
inner shells, where nearly all its power lies, and at some frequencies of the outer ones. A few that
span the others there are evaluated everywhere; the outer shells of each other volume are the
combination of theirs that fits its own values best. What the fit leaves over tells the error, and
a volume that the few cannot tell becomes one of them.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import scipy.linalg
from jaxtyping import Bool, Complex, Float, Int

from vitreous.training.networks.decoder import half_space_points

Values = Callable[[np.ndarray, np.ndarray], np.ndarray]
# Share of the radius up to which every volume is evaluated: 5 % of all frequencies.
_INNER = 0.375
# Frequencies of the outer shells at which every volume is evaluated.
_SAMPLED = 4096
# Volumes compared with each other at once, and evaluated at once.
_GROUP = 1024
_BATCH = 8
# Memory for volumes evaluated in full, in bytes.
_ROOM = 2 << 30


class VolumeFamily:
    """Evaluate a field at all points of the half space, for many latents, to a tolerance.

    Volumes evaluated in full are kept: the longer a family is used, the fewer are added.
    """

    def __init__(self, values: Values, box: int, max_shell: int, tolerance: float) -> None:
        """Say what is evaluated.

        **Arguments:** `values`: the field of latents `(m, d)` at frequencies `(p, 3)` in
        cycles/box, `(m, p)`. `tolerance`: root-mean-square error of a volume, as a share of the
        root-mean-square deviation of all volumes from their mean; 0 evaluates each in full.
        """
        self.values, self.tolerance = values, tolerance
        self.frequency = half_space_points(box, max_shell)[1]
        is_outer = np.linalg.norm(self.frequency, axis=1) > _INNER * max_shell
        order = np.random.default_rng(0).permutation(np.flatnonzero(is_outer))
        sampled, others = np.sort(order[:_SAMPLED]), np.sort(order[_SAMPLED:])
        self.common = np.concatenate([np.flatnonzero(~is_outer), sampled])
        self.sample, self.others = sampled, others
        self._sampled = np.zeros((0, len(sampled)), np.complex64)
        self._others = np.zeros((0, len(others)), np.complex64)

    @property
    def in_full(self) -> int:
        """The number of volumes evaluated in full and kept."""
        return len(self._others)

    def halves(self, latent: Float[np.ndarray, "m d"]) -> Iterator[Complex[np.ndarray, "b p"]]:
        """Yield the values of a few latents after the other, at all points of the half space."""
        is_shared = self.tolerance > 0 and len(self.others) > 2 * _SAMPLED
        for start in range(0, len(latent), _GROUP):
            group = latent[start : start + _GROUP]
            if is_shared and len(group) + self.in_full > 4 * _BATCH:
                yield from self._shared(group)
            else:
                for few in _batches(group):
                    yield self._evaluate(few, self.frequency)

    def _evaluate(self, latent: np.ndarray, frequency: np.ndarray) -> Complex[np.ndarray, "m p"]:
        """Evaluate in batches of one size, so that one program serves all."""
        found = [np.zeros((0, len(frequency)), np.complex64)]
        for few in _batches(latent):
            padded = np.resize(few, (_BATCH, latent.shape[1]))
            found.append(np.asarray(self.values(padded, frequency))[: len(few)])
        return np.concatenate(found)

    def _shared(self, latent: np.ndarray) -> Iterator[np.ndarray]:
        common = self._evaluate(latent, self.frequency[self.common])
        sampled = common[:, -len(self.sample) :]
        room = _ROOM // (8 * len(self.others)) - self.in_full
        span = find_span(
            _real(np.concatenate([self._sampled, sampled])), self.in_full, self._limit(common), room
        )
        chosen = span.members[self.in_full :] - self.in_full
        self._sampled = np.concatenate([self._sampled, sampled[chosen]])
        others = self._evaluate(latent[chosen], self.frequency[self.others])
        before, self._others = self.in_full, np.concatenate([self._others, others])
        for rows in _batches(np.arange(len(latent))):
            made = np.empty((len(rows), len(self.frequency)), np.complex64)
            made[:, self.common] = common[rows]
            made[:, self.others] = _mixed(span.mixture[before + rows], self._others)
            untold = rows[span.is_untold[before + rows]]
            if untold.size:
                places = np.isin(rows, untold)
                made[places] = self._evaluate(latent[untold], self.frequency)
            yield made

    def _limit(self, common: np.ndarray) -> float:
        """Return the largest squared error of a volume, summed over the sampled frequencies."""
        share = len(self.others) / len(self.sample)
        squares = np.abs(common - common.mean(axis=0)) ** 2
        squares[:, -len(self.sample) :] *= 1 + share
        own = float(np.mean(np.sum(np.abs(common) ** 2, axis=1)))
        # Below rounding there is nothing to fit.
        return max(self.tolerance**2 * float(np.mean(squares.sum(axis=1))), 1e-10 * own) / share


class Span(NamedTuple):
    """Hold the rows that span all others. `mixture`: of each row, what it takes of the members.
    `is_untold`: rows that they do not reach."""

    members: Int[np.ndarray, " r"]
    mixture: Float[np.ndarray, "n r"]
    is_untold: Bool[np.ndarray, " n"]


def find_span(rows: Float[np.ndarray, "n f"], given: int, limit: float, room: int) -> Span:
    """Choose few rows whose combinations come near every row: pivoted Cholesky of their products.

    **Arguments:** `given`: so many rows are members already, the first. `limit`: squared error a
    row may have, made larger by what the fit itself takes away. `room`: members that may be added.
    """
    gram = (rows @ rows.T).astype(np.float64)
    left = np.diag(gram).copy()
    members: list[int] = []
    factor = np.zeros((0, len(rows)))
    for step in range(given + max(room, 0)):
        pivot = step if step < given else int(np.argmax(left))
        freedom = max(1 - step / rows.shape[1], 1e-3)
        if step >= given and left[pivot] <= limit * freedom:
            break
        new = gram[pivot] - factor[:, pivot] @ factor
        new /= np.sqrt(max(left[pivot], 1e-12 * gram[pivot, pivot], 1e-30))
        factor = np.concatenate([factor, new[None]])
        members.append(pivot)
        left = np.maximum(left - new**2, 0)
        left[members] = 0
    chosen = np.array(members, np.int64)
    mixture = scipy.linalg.solve_triangular(factor[:, chosen], factor) if members else factor
    freedom = max(1 - len(members) / rows.shape[1], 1e-3)
    return Span(chosen, mixture.T, left > limit * freedom)


def _real(values: Complex[np.ndarray, "n p"]) -> Float[np.ndarray, "n q"]:
    """Lay real and imaginary parts side by side: volumes are mixed with real weights."""
    return np.ascontiguousarray(values).view(np.float32)


def _mixed(
    weights: Float[np.ndarray, "b r"], values: Complex[np.ndarray, "r p"]
) -> Complex[np.ndarray, "b p"]:
    return (weights.astype(np.float32) @ _real(values)).view(np.complex64)


def _batches(rows: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), _BATCH):
        yield rows[start : start + _BATCH]

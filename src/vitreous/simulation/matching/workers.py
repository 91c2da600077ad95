"""A search shared between the devices of all processes: each tries orientations of its own."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from vitreous.particles.processes import of_every_process
from vitreous.simulation.matching.search import Maps, Target, empty_maps, search_views
from vitreous.simulation.specimen import Specimen


class Workers:
    """Hold what each device of this process has found.

    **Arguments:** `maps`: of the orientations tried before; the first device goes on with them.
    `together`, `batch`: orientations of a device in one call, and at a time.
    """

    def __init__(
        self, maps: Maps, target: Target, specimen: Specimen, together: int, batch: int
    ) -> None:
        me, every = jax.process_index(), jax.devices()
        self._numbers = [n for n, device in enumerate(every) if device.process_index == me]
        self._together, self._batch, self.count = together, batch, len(every)
        shape = maps.best.shape
        self._given, self._maps = [], []
        for number in self._numbers:
            device = every[number] if self.count > 1 else None
            arrays, rest = eqx.partition((target, specimen), eqx.is_array)
            self._given.append(eqx.combine(jax.device_put(arrays, device), rest))
            begin = maps if number == 0 else empty_maps((shape[0], shape[1]))
            self._maps.append(jax.device_put(begin, device))

    def step(self, rotations: Float[np.ndarray, "m 3 3"], done: int) -> int:
        """Try the next orientations, on every device some.

        **Arguments:** `done`: how many were tried by all.

        **Returns:** how many are tried now.
        """
        for place, worker in enumerate(self._numbers):
            first = done + worker * self._together
            index = np.arange(first, first + self._together).reshape(-1, self._batch)
            number = np.minimum(index, len(rotations) - 1)
            target, specimen = self._given[place]
            self._maps[place] = search_views(
                self._maps[place],
                target,
                specimen,
                jnp.asarray(rotations[number]),
                jnp.asarray(number, jnp.int32),
                jnp.asarray(index < len(rotations)),
            )
        jax.block_until_ready(self._maps)
        return min(done + self._together * self.count, len(rotations))

    def merged(self) -> Maps:
        """Bring the maps of all devices and processes together."""
        if self.count == 1:
            return self._maps[0]
        here = merge_maps(jax.device_get(self._maps))
        return merge_maps(of_every_process(here))


def merge_maps(parts: list[Maps]) -> Maps:
    """Bring maps of different orientations together; of equal scores the first view counts."""
    best, view = np.asarray(parts[0].best), np.asarray(parts[0].view)
    for part in parts[1:]:
        is_better = (part.best > best) | ((part.best == best) & (part.view < view))
        best = np.where(is_better, part.best, best)
        view = np.where(is_better, part.view, view)
    rest = [sum(columns[1:], columns[0]) for columns in zip(*(p[2:] for p in parts), strict=True)]
    return Maps(*jax.tree.map(jnp.asarray, (best, view, *rest)))

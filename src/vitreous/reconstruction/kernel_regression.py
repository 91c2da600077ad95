"""A volume at any point of a latent space, from the images whose latents lie near it.

Images are sorted into rings by their distance from the point and each is inserted once, into the
sums of its ring and half set. Every bandwidth is then a sum of the innermost rings, and each
Fourier shell takes its own: narrow where the signal is strong, all images where it is weak. The
choice is made by prediction: what one half set reconstructs with a bandwidth is compared with the
innermost images of the other half.
"""

from collections.abc import Sequence
from functools import partial
from itertools import zip_longest
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vitreous.particles.device_data import DeviceData
from vitreous.particles.loader import PreparedImages
from vitreous.particles.order import epoch_plan
from vitreous.particles.prepare import Batch
from vitreous.particles.processes import (
    gather_rows,
    own_share,
    sum_over_devices,
)
from vitreous.reconstruction.backprojection import (
    Geometry,
    Slices,
    expected_density,
    image_sums,
    insert_images,
)
from vitreous.reconstruction.density import SAMPLE
from vitreous.reconstruction.finish import finish_halves
from vitreous.reconstruction.fsc import fsc_shells
from vitreous.reconstruction.insertion import SliceSums, empty_table
from vitreous.reconstruction.regularisation import divide, half_map_penalty, shell_mean
from vitreous.reconstruction.rings import RINGS, ring_sizes, rings_of


class Regression(NamedTuple):
    """Hold a volume made by kernel regression and what it rests on.

    **Fields:** `volume`: Wiener-filtered by the half maps' FSC. `half_maps`: of the chosen
    bandwidths, from separate images. `fsc`: of them. `ring`: outermost ring used on each shell;
    `images`: how many images that makes.
    """

    volume: Float[np.ndarray, "n n n"]
    half_maps: Float[np.ndarray, "2 n n n"]
    fsc: Float[np.ndarray, " shells"]
    ring: Int[np.ndarray, " shells"]
    images: Int[np.ndarray, " shells"]


class KernelRegression:
    """Make volumes from prepared images at points of a latent space.

    **Arguments:** `data`: all images; or those of this process alone, neighbouring parts of its
    share, each on a device of its own, and then the sums of all processes are added up. `halves`:
    half set of each image, of all processes. `mask`: real-space support of volumes. `contrast`: of
    each image, 1 if None. `rings`: how many bandwidths there are. `first`: images of the narrowest
    one, see `ring_sizes`.
    """

    def __init__(
        self,
        data: PreparedImages | Sequence[PreparedImages],
        halves: Int[np.ndarray, " n"],
        mask: Float[np.ndarray, "n n n"] | None = None,
        contrast: Float[np.ndarray, " n"] | None = None,
        rings: int = RINGS,
        batch_size: int = 256,
        first: int | None = None,
    ) -> None:
        self._is_shared = not isinstance(data, PreparedImages)
        self.parts = [data] if isinstance(data, PreparedImages) else list(data)
        data = self.parts[0]
        sizes = np.concatenate([np.asarray(part.table.pixel_size) for part in self.parts])
        count = len(halves)
        # Rows of the table that the parts hold, one after the other.
        self._first = own_share(count).start if self._is_shared else 0
        if self._is_shared and jax.process_count() > 1:
            # No 64-bit numbers on the way.
            sizes = gather_rows(sizes.astype(np.float32), count)
        self.geometry = Geometry(data.box, data.pixels.max_shell, float(np.median(sizes)))
        self.halves = np.asarray(halves, np.int32)
        self.sizes = ring_sizes(count, rings, first)
        self.mask = jnp.ones((data.box,) * 3) if mask is None else jnp.asarray(mask, jnp.float32)
        self._contrast = np.ones(count) if contrast is None else np.asarray(contrast)
        self._batches = [part.batch_size(batch_size) for part in self.parts]
        self._plans = [
            tuple(epoch_plan(np.arange(len(part), dtype=np.int32), size))
            for part, size in zip(self.parts, self._batches, strict=True)
        ]
        self._density = self._sample_density()
        self._scan = jax.jit(self._resident, static_argnums=0)
        self._step = jax.jit(self._add, donate_argnums=0)
        self.scores: Float[np.ndarray, "rings shells"] | None = None

    @property
    def shells(self) -> int:
        """Number of shells a bandwidth is chosen for."""
        return self.geometry.max_shell + 1

    def set_mask(self, mask: Float[np.ndarray, "n n n"]) -> None:
        """Set the support of the volumes to come."""
        self.mask = jnp.asarray(mask, jnp.float32)

    def sums(self, distance: Float[np.ndarray, " n"]) -> SliceSums:
        """Insert every image into the sums of its half set and ring.

        **Returns:** sums of groups `half · rings + ring`, `(2 rings, 1, …)`.
        """
        group = self.halves * len(self.sizes) + rings_of(distance, self.sizes)
        own, first = [], self._first
        for part in self.parts:
            rows = slice(first, first + len(part))
            one = _OfImages(group[rows].astype(np.int32), self._contrast[rows].astype(np.float32))
            own.append(jax.device_put(one, self._place(part)))
            first = rows.stop
        if self.parts[0].resident:
            # Each device goes on by itself while the next one is given its work.
            tables = [
                self._scan(number, part.arrays, mine, self._plans[number])
                for number, (part, mine) in enumerate(zip(self.parts, own, strict=True))
            ]
        else:
            tables = self._stream(own)
        table = sum_over_devices(tables) if self._is_shared else tables[0]
        return _read(table, self._density, self.geometry)

    def _place(self, part: PreparedImages) -> jax.Device | None:
        return part.devices[0] if self._is_shared else None

    def _stream(self, own: "list[_OfImages]") -> list[Array]:
        """Insert images as they are read, a batch for each device in turn."""
        tables = [jax.device_put(self._empty(), self._place(part)) for part in self.parts]
        steps = [part.in_order(size) for part, size in zip(self.parts, self._batches, strict=True)]
        for batches in zip_longest(*steps):
            for number, batch in enumerate(batches):
                if batch is not None:
                    slices = self._slices(batch, own[number])
                    tables[number] = self._step(tables[number], slices)
        return tables

    def learn(self, distances: Sequence[Float[np.ndarray, " n"]]) -> None:
        """Choose bandwidths from several points together, which makes the choice steadier.

        Volumes made later at any point use a mixture of its own scores and these.
        """
        total = [np.asarray(_scores(self.sums(d), self.shells)) for d in distances]
        self.scores = np.mean(total, axis=0)

    def __call__(
        self,
        distance: Float[np.ndarray, " n"],
        ring: Int[np.ndarray, " shells"] | None = None,
    ) -> Regression:
        """Make the volume of a point.

        **Arguments:** `distance`: of each image from it. `ring`: outermost ring to use on each
        shell; by default chosen by prediction between half sets.
        """
        return self.finish(self.sums(distance), ring)

    def finish(self, sums: SliceSums, ring: Int[np.ndarray, " shells"] | None = None) -> Regression:
        """Make a volume from the sums of its rings; `ring` as when called."""
        if ring is None:
            scores = np.asarray(_scores(sums, self.shells))
            ring = best_rings(scores, self.scores)
        volume, halves, fsc = _finish(sums, jnp.asarray(ring, jnp.int32), self.mask)
        return Regression(
            np.asarray(volume),
            np.asarray(halves),
            np.asarray(fsc),
            np.asarray(ring),
            self.sizes[np.asarray(ring)],
        )

    def _empty(self) -> Float[Array, "rows channels"]:
        return empty_table(self.geometry.grid, 2 * len(self.sizes))

    def _slices(self, batch: Batch, own: "_OfImages") -> Slices:
        ctf = batch.ctf
        if ctf is not None:
            ctf = ctf._replace(scale=ctf.scale * own.contrast[batch.index])
        assert batch.rotation is not None
        return Slices(
            batch.pixels,
            batch.rotation,
            batch.shift,
            batch.pixel_size,
            ctf,
            own.group[batch.index],
            batch.weight,
            batch.dose,
        )

    def _sample_density(self) -> Float[np.ndarray, " radii"]:
        tables = [(part.table.pixel_size, part.table.ctf) for part in self.parts]
        columns = jax.tree.map(lambda *x: np.concatenate(x).astype(np.float32), *tables)
        if self._is_shared:
            # The first images of all: another sample would spread weights a little otherwise.
            columns = gather_rows(columns, len(self.halves))
        some = jax.tree.map(lambda x: x[:SAMPLE], columns)
        density = jax.jit(partial(expected_density, dose=None, geometry=self.geometry))(*some)
        # On the host, from where every device takes it.
        return np.asarray(density)

    def _add(self, table, slices: Slices):
        return insert_images(table, slices, jnp.asarray(self._density), self.geometry)

    def _resident(self, number: int, arrays: DeviceData, own: "_OfImages", plan: tuple) -> Array:
        def body(table, step):
            batch = self.parts[number].batch(arrays, *step)
            return self._add(table, self._slices(batch, own)), None

        table, _ = jax.lax.scan(body, self._empty(), plan)
        return table


class _OfImages(NamedTuple):
    """Hold group (half set and ring) and contrast of each image of a part."""

    group: Int[Array | np.ndarray, " n"]
    contrast: Float[Array | np.ndarray, " n"]


@partial(jax.jit, static_argnames="geometry")
def _read(table, density, geometry: Geometry) -> SliceSums:
    return image_sums(table, density, geometry)


def _cumulative(sums: SliceSums) -> SliceSums:
    """Return sums of the innermost rings, `(2, rings, …)`."""
    numerator = sums.numerator.reshape(2, -1, *sums.numerator.shape[2:])
    weight = sums.weight.reshape(2, -1, *sums.weight.shape[2:])
    return SliceSums(jnp.cumsum(numerator, 1), jnp.cumsum(weight, 1))


@partial(jax.jit, static_argnames="shells")
def _scores(sums: SliceSums, shells: int) -> Float[Array, "rings shells"]:
    """Say how much of the innermost images of one half each bandwidth of the other explains.

    **Returns:** the share of misfit a best-scaled map of the bandwidth removes, in units of noise
    variances of a voxel; larger is better.
    """
    total = _cumulative(sums)
    gain = jnp.zeros((total.weight.shape[1], shells), jnp.float32)
    for half in range(2):
        near, seen = total.numerator[1 - half, 0], total.weight[1 - half, 0]

        def score(given, near=near, seen=seen):
            numerator, weight = given
            made = divide(numerator, weight, half_map_penalty(weight, shells))
            cross = shell_mean((made.conj() * near).real, shells)
            power = shell_mean(seen * jnp.abs(made) ** 2, shells)
            cross = jnp.maximum(cross, 0)
            return cross * cross / jnp.maximum(power, 1e-30)

        gain += jax.lax.map(score, (total.numerator[half], total.weight[half]))
    return gain


def best_rings(
    scores: Float[np.ndarray, "rings shells"],
    shared: Float[np.ndarray, "rings shells"] | None = None,
    width: float = 1.5,
) -> Int[np.ndarray, " shells"]:
    """Choose the outermost ring of each shell.

    **Arguments:** `shared`: scores averaged over many points, added to those of this point.
    `width`: in shells, over which scores are smoothed: neighbours want nearly the same.
    """
    total = scores if shared is None else scores + 4 * shared
    size = np.arange(total.shape[1])
    blur = np.exp(-0.5 * ((size[:, None] - size[None]) / width) ** 2)
    # A shell's own scale must not drown its neighbours.
    total = total / np.maximum(total.max(axis=0, keepdims=True), 1e-30)
    return np.argmax(total @ blur, axis=0).astype(np.int32)


@jax.jit
def _finish(
    sums: SliceSums, ring: Int[Array, " shells"], mask: Float[Array, "n n n"]
) -> tuple[Float[Array, "n n n"], Float[Array, "2 n n n"], Float[Array, " shells"]]:
    """Take on each shell the sums of its own bandwidth, and finish them as any reconstruction."""
    total = _cumulative(sums)
    shells, box = ring.shape[0], mask.shape[0]
    place = ring[jnp.asarray(np.minimum(fsc_shells(box), shells - 1))]

    def pick(values):
        return jnp.take_along_axis(values, place[None, None], axis=1)

    made = finish_halves(SliceSums(pick(total.numerator), pick(total.weight)), shells - 1)
    return made.volume * mask, made.half_maps * mask[None], made.fsc

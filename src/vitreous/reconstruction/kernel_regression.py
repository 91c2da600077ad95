"""A volume at any point of a latent space, from the images whose latents lie near it.

Images are sorted into rings by their distance from the point and each is inserted once, into the
sums of its ring and half set. Every bandwidth is then a sum of the innermost rings, and each
Fourier shell takes its own: narrow where the signal is strong, all images where it is weak. The
choice is made by prediction: what one half set reconstructs with a bandwidth is compared with the
innermost images of the other half.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vitreous.particles.device_data import DeviceData
from vitreous.particles.loader import PreparedImages
from vitreous.particles.order import epoch_plan
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

    **Arguments:** `halves`: half set of each image. `mask`: real-space support of volumes.
    `contrast`: of each image, 1 if None. `rings`: how many bandwidths there are. `first`: images
    of the narrowest one, see `ring_sizes`.
    """

    def __init__(
        self,
        data: PreparedImages,
        halves: Int[np.ndarray, " n"],
        mask: Float[np.ndarray, "n n n"] | None = None,
        contrast: Float[np.ndarray, " n"] | None = None,
        rings: int = RINGS,
        batch_size: int = 256,
        first: int | None = None,
    ) -> None:
        self.data = data
        voxel_size = float(np.median(np.asarray(data.table.pixel_size)))
        self.geometry = Geometry(data.box, data.pixels.max_shell, voxel_size)
        self.halves = np.asarray(halves, np.int32)
        self.sizes = ring_sizes(len(data), rings, first)
        self.mask = jnp.ones((data.box,) * 3) if mask is None else jnp.asarray(mask, jnp.float32)
        self._contrast = None if contrast is None else jnp.asarray(contrast, jnp.float32)
        self._batch = data.batch_size(batch_size)
        self._density = self._sample_density()
        self._scan = jax.jit(self._resident)
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
        ring = rings_of(distance, self.sizes)
        group = jnp.asarray(self.halves * len(self.sizes) + ring)
        plan = epoch_plan(np.arange(len(self.data), dtype=np.int32), self._batch)
        if self.data.resident:
            steps = (jnp.asarray(plan.rows), jnp.asarray(plan.weight))
            return self._scan(self.data.arrays, group, steps)
        table = self._empty()
        for batch in self.data.in_order(self._batch):
            table = self._step(table, self._slices(batch, group))
        return _read(table, self._density, self.geometry)

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

    def _slices(self, batch, group) -> Slices:
        ctf = batch.ctf
        if self._contrast is not None and ctf is not None:
            ctf = ctf._replace(scale=ctf.scale * self._contrast[batch.index])
        return Slices(
            batch.pixels,
            batch.rotation,
            batch.shift,
            batch.pixel_size,
            ctf,
            group[batch.index],
            batch.weight,
            batch.dose,
        )

    def _sample_density(self) -> Float[Array, " radii"]:
        columns = self.data.arrays.columns
        some = jax.tree.map(lambda x: x[:SAMPLE], (columns.pixel_size, columns.ctf))
        return jax.jit(partial(expected_density, dose=None, geometry=self.geometry))(*some)

    def _add(self, table, slices: Slices):
        return insert_images(table, slices, self._density, self.geometry)

    def _resident(self, arrays: DeviceData, group, plan: tuple[Array, Array]) -> SliceSums:
        def body(table, step):
            batch = self.data.batch(arrays, *step)
            return self._add(table, self._slices(batch, group)), None

        table, _ = jax.lax.scan(body, self._empty(), plan)
        return image_sums(table, self._density, self.geometry)


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

"""What all phases of a search share: images, band, mask, symmetry, and how they report."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.geometry.point_groups import point_group
from vitreous.particles.loader import PreparedImages
from vitreous.particles.order import EpochPlan, epoch_plan
from vitreous.particles.prepare import Batch
from vitreous.particles.processes import own_share
from vitreous.reconstruction.masks import spherical_mask
from vitreous.reconstruction.weighed import image_power, shift_phases

# Called with a phase, how much of it is done, how much there is, and what is known by now.
Report = Callable[[str, int, int, str], None]
# Images whose power spectrum stands for all.
_SAMPLE = 1024


class Part(NamedTuple):
    """Hold a batch: its number among all of a pass, the rows in it, and which of them count."""

    number: int
    rows: Int[np.ndarray, " b"]
    counted: Bool[np.ndarray, " b"]
    batch: Batch


@dataclass(frozen=True, eq=False)
class Setting:
    """Hold a search's surroundings.

    **Fields:** `data`: prepared images. `radius`: of the particle, in pixels. `reach`: how far
    particles may lie off their centres, pixels. `classes`: maps at a time. `symmetry`: point
    group. `batch_size`: images scored at a time. `report`: progress. `centres`: where particles
    are known to lie, pixels; `reach` counts from there, and maps keep their origin.
    """

    data: PreparedImages
    radius: float
    reach: float
    classes: int
    symmetry: str
    batch_size: int
    seed: int
    report: Report
    centres: Float[np.ndarray, "n 2"] | None = None

    @property
    def pixels(self) -> FourierPixels:
        """All pixels of the prepared images."""
        return self.data.pixels

    @property
    def box(self) -> int:
        """Side of the images."""
        return self.data.box

    @property
    def pixel_size(self) -> float:
        """Å."""
        return float(np.median(np.asarray(self.data.table.pixel_size)))

    @property
    def mask(self) -> Float[Array, "n n n"]:
        """Sphere of the particle with a soft edge."""
        edge = max(2.0, 0.08 * self.box)
        return jnp.asarray(spherical_mask(self.box, self.radius, soft_edge=edge))

    @property
    def unit(self) -> float:
        """Shells of a particle that fills 62 % of the box count 1; smaller ones vary slower."""
        return self.box / (3.2 * self.radius)

    def shell(self, shell: int) -> int:
        """Scale a shell to the particle's size, within what the pixels hold."""
        return int(np.clip(round(shell * self.unit), 3, self.pixels.max_shell))

    def copies(self) -> Float[np.ndarray, "g 3 3"]:
        """Return the rotations of the point group, the identity first."""
        return point_group(self.symmetry)

    @property
    def alike(self) -> str:
        """Say which point group makes poses alike: of several maps each may break the symmetry."""
        return self.symmetry if self.classes == 1 else "C1"

    def with_classes(self, count: int) -> "Setting":
        """Return the setting of another number of maps."""
        return replace(self, classes=count)

    def about(self, centres: Float[np.ndarray, "n 2"], reach: float) -> "Setting":
        """Return the setting of images moved back by what is known of their shifts."""
        return replace(self, centres=centres, reach=min(reach, self.reach))

    def inverted(self) -> "Setting":
        """Return the setting with images of the other sign."""
        data = self.data
        recipe = replace(data.recipe, invert=not data.recipe.invert)
        planes = data.arrays.planes
        if planes is not None:
            planes = -planes
        data = replace(data, recipe=recipe, arrays=data.arrays._replace(planes=planes))
        return replace(self, data=data)

    def batches(self, rows: Int[np.ndarray, " m"]) -> Iterator[Batch]:
        """Iterate over some images, the last batch filled up with rows of weight 0."""
        plan = epoch_plan(rows.astype(np.int32), self.batch_size)
        return (part.batch for part in self._parts(plan, slice(0, len(plan.rows))))

    def shared(self, rows: Int[np.ndarray, " m"]) -> Iterator[Part]:
        """Iterate over the batches of some images that this process works on."""
        return self.shared_plan(epoch_plan(rows.astype(np.int32), self.batch_size))

    def shared_plan(self, plan: EpochPlan) -> Iterator[Part]:
        """Iterate over the batches of a plan that this process works on."""
        return self._parts(plan, own_share(len(plan.rows)))

    def _parts(self, plan: EpochPlan, mine: slice) -> Iterator[Part]:
        own = EpochPlan(*(leaf[mine] for leaf in plan))
        for number, batch in enumerate(self.data.batches(own)):
            rows, counted = own.rows[number], own.weight[number] > 0
            if self.centres is not None:
                batch = _moved_back(batch, jnp.asarray(self.centres[rows]), self.pixels)
            yield Part(mine.start + number, rows, counted, batch)

    def image_power(self) -> Float[Array, " shells"]:
        """Measure the power of images by shell, on a sample spread over the set."""
        count = len(self.data)
        rows = np.unique(np.linspace(0, count - 1, min(count, _SAMPLE)).astype(np.int32))
        total, weight = jnp.zeros(self.pixels.max_shell + 1), 0.0
        for batch in self.batches(rows):
            share = float(np.sum(np.asarray(batch.weight)))
            total, weight = total + share * image_power(batch, self.pixels), weight + share
        mean = total / weight
        # Shell 0 holds no pixel; nothing may be divided by 0.
        return jnp.maximum(mean.at[0].set(mean[1]), 1e-6)


@partial(jax.jit, static_argnames="pixels")
def _moved_back(batch: Batch, shift: Float[Array, "b 2"], pixels: FourierPixels) -> Batch:
    return batch._replace(pixels=batch.pixels * shift_phases(shift, pixels, len(pixels)))

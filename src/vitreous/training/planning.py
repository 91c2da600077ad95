"""What a fit will hold where, said before it starts: images, tables, weights, checkpoints."""

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from jaxtyping import PyTree
from rich.console import Console
from rich.table import Table

from vitreous.particles.device_data import SPREAD, own_part
from vitreous.particles.loader import PreparedImages
from vitreous.particles.memory import free_device_memory, free_host_memory

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Held:
    """Say what lies where. **Fields:** `size`: bytes there; `of_each`: on each device."""

    what: str
    where: str
    size: int
    of_each: int = 0


@dataclass(frozen=True)
class Plan:
    """Hold what a fit will take: a line a thing, and a line on how it goes through the images."""

    held: tuple[Held, ...]
    course: str

    def show(self, console: Console | None) -> None:
        """Print a table, and write the same to the log."""
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name in ("held", "where"):
            table.add_column(name)
        for name in ("size", "on each device"):
            table.add_column(name, justify="right")
        for held in self.held:
            each = amount(held.of_each) if held.of_each else ""
            table.add_row(held.what, held.where, amount(held.size), each)
            logger.info("%s: %s, %s", held.what, held.where, amount(held.size))
        logger.info(self.course)
        if console is not None:
            console.print(table)
            console.print(self.course, highlight=False, soft_wrap=True)


def amount(size: int) -> str:
    """Word a number of bytes: `3.2 GiB`, `41 MiB`, `7 KiB`."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB")):
        if size >= unit:
            value = size / unit
            return f"{value:.1f} {name}" if value < 10 else f"{value:,.0f} {name}"
    return f"{-(-size // 1024)} KiB"


def plan_fit(
    data: PreparedImages,
    shapes: PyTree,
    shardings: PyTree | None,
    folder: Path,
    *,
    batch: int,
    steps: int,
    block: int,
    threads: int,
    ahead: int,
    group: int,
    epochs: int,
    keep: int | None,
) -> Plan:
    """List what a fit will hold.

    **Arguments:** `shapes`, `shardings`: of its state's arrays. `folder`: of the run. The others
    are those of the fit: images a step, steps an epoch and in one call, readers, and
    batches or windows they are ahead; epochs, and how many of their checkpoints stay.
    """
    devices = data.devices
    count, kind = len(devices), devices[0].platform
    processes = jax.process_count()
    every = f"{count} {kind}" + (f" in {processes} processes" if processes > 1 else "")
    shared = "device" if count == 1 else f"{count} devices, shared"
    each = "device" if count == 1 else f"{count} devices, each"
    images = len(data) * 2 * len(data.pixels) * np.dtype(data.recipe.storage).itemsize
    held = []
    if data.resident:
        words = f"images, {data.recipe.storage}, transformed"
        held.append(Held(words, shared, images, -(-images // count)))
    else:
        batch_bytes = 4 * data.box**2 * _own_images(batch, data)
        if group > 1:
            queue, words = (threads + 2) * group * batch_bytes, f"windows of {group * batch} images"
        else:
            queue, words = (2 * ahead + 1) * batch_bytes, "batches ahead"
        held.append(Held("images, streamed", "disk", 4 * data.box**2 * len(data)))
        held.append(Held(words, "host", queue))
        # One call's are worked on, the next ones wait, those after them are being gathered.
        working = 3 * block * 4 * data.box**2 * -(-batch // count)
        held.append(Held("batches at work", each, working, working))
    columns = sum(leaf.nbytes for leaf in jax.tree.leaves(data.arrays.columns))
    if columns:
        held.append(Held("poses and CTF", shared, columns, -(-columns // count)))
    whole, spread = _state_bytes(shapes, shardings)
    if spread:
        held.append(Held("of each particle", shared, spread, spread // count))
    held.append(Held("weights, optimiser", each, whole, whole))
    # The new one is whole before the one it replaces goes.
    number = 2 if keep == 1 else min(epochs, keep or epochs) + 1
    folder = folder if folder.is_dir() else folder.parent
    free = shutil.disk_usage(folder).free if folder.is_dir() else 0
    words = f"disk, {amount(free)} free"
    held.append(Held(f"up to {number} checkpoints", words, number * (whole + spread)))
    room = free_device_memory(devices)
    course = (
        f"{len(data):,} images, {steps:,} steps of {batch} an epoch, {block} in one call; "
        f"{amount(room)} free on {every}, {amount(free_host_memory())} on the host"
    )
    return Plan(tuple(held), course)


def _own_images(batch: int, data: PreparedImages) -> int:
    part = own_part(batch, data.mesh)
    return part.stop - part.start


def _state_bytes(shapes: PyTree, shardings: PyTree | None) -> tuple[int, int]:
    """Return the bytes that are whole on each device, and those shared between them."""
    leaves = jax.tree.leaves(shapes)
    places = [None] * len(leaves) if shardings is None else jax.tree.leaves(shardings)
    whole = spread = 0
    for leaf, place in zip(leaves, places, strict=True):
        # Keys of random numbers are no plain numbers: two words each.
        is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        size = leaf.size * (8 if is_key else np.dtype(leaf.dtype).itemsize)
        if place is not None and place.spec == SPREAD:
            spread += size
        else:
            whole += size
    return whole, spread

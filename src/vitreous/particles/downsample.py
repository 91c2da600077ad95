"""Downsample particle sets and maps as a stream, with tables that say the truth afterwards."""

import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vitreous.errors import InputError
from vitreous.files import write_text
from vitreous.geometry.resample import resample
from vitreous.maps import Map
from vitreous.mrc import HEADER_BYTES
from vitreous.particles.cache import check_same_set
from vitreous.particles.processes import gather_rows, map_rows, own_share, together
from vitreous.particles.source import ImageSource, check_finite, rows_by_stack
from vitreous.particles.stack import StackWriter
from vitreous.particles.table import ParticleTable

_BATCH_BYTES = 32 << 20


@partial(jax.jit, static_argnames="side")
def _resample(images: Float[Array, "b n n"], side: int) -> Float[Array, "b m m"]:
    return resample(images, side, 2)


@dataclass(frozen=True)
class _Output:
    """Name a stack to write, and the rows of the table that go into it."""

    path: Path
    rows: np.ndarray


def downsample_map(volume: Map, box: int) -> Map:
    """Resample a cubic map to `box` voxels a side; extent and mean density are preserved.

    **Raises:** `InputError` if the map is no cube, or smaller than `box`.
    """
    sides = set(volume.data.shape)
    if len(sides) != 1:
        raise InputError(f"the map is {'×'.join(map(str, volume.data.shape))}; it must be a cube")
    side = sides.pop()
    _check_box(box, side, side)
    data = np.asarray(resample(jnp.asarray(volume.data), box, 3))
    voxel_size = volume.voxel_size * side / box
    # The centre voxel n // 2 stays where it was, so the first voxel moves.
    moved = volume.voxel_size * (side // 2) - voxel_size * (box // 2)
    origin = (volume.origin[0] + moved, volume.origin[1] + moved, volume.origin[2] + moved)
    return Map(data, voxel_size, origin)


def downsample_particles(
    table: ParticleTable,
    box: int,
    path: str | os.PathLike,
    *,
    chunk: int | None = None,
    stack_folder: str | os.PathLike | None = None,
    batch: int = 5000,
    threads: int = 16,
    progress: Callable[[int], object] = lambda images: None,
) -> ParticleTable:
    """Write a particle set at a smaller box, and return its table.

    Fourier-cropped: extent in Å, centre and mean intensity stay. (cryoDRGN keeps the sum instead,
    so its values are larger by `(old / new)²`; training normalises either.)

    **Arguments:**

    - `box`: new side in pixels, even or odd, at most that of the images.
    - `path`: what to write. `.mrcs`: one stack. `.star`: a table, with pixel size, box, pixel
      origins and image names brought up to date, and its stack beside it. `.txt`: a list of stacks.
    - `chunk`: at most so many images in a stack: `name.0.mrcs`, `name.1.mrcs`, … (an `.mrcs`
      output gets a `.txt` list beside it).
    - `stack_folder`: keep one stack for each input stack, in this folder, in the same tree.
    - `batch`: images read at a time, fewer if they are large. `threads`: how many read ahead.
    - `progress`: called with the number of images done since the last call.

    **Returns:** the table of the written images.

    **Raises:** `InputError` before anything is written: a box that is too large, missing or broken
    stacks, mixed pixel sizes for one `.mrcs`, an output that is an input, too little disk space.
    NaN pixels are found on the way, and nothing half-written is left.
    """
    path = Path(path)
    if path.suffix.lower() not in (".mrcs", ".mrc", ".star", ".txt"):
        raise InputError(f"{path}: the output is .mrcs, .star or .txt")
    _check_box(box, int(table.box.min()), int(table.box.max()))
    check_same_set(table)
    source = ImageSource(table)
    outputs = _plan_outputs(table, path, chunk, stack_folder)
    smaller = _described(table, box, outputs)
    is_table = path.suffix.lower() == ".star"
    _check_outputs(table, smaller, box, outputs, is_table)
    written: list[Path] = []
    try:
        for output in outputs:
            size = float(smaller.pixel_size[output.rows[0]])
            with StackWriter(output.path, len(output.rows), box, size) as stack:
                for images in _stream(source, output.rows, box, batch, threads):
                    stack.write(images)
                    progress(len(images))
            written.append(output.path)
    except BaseException:
        for stack_path in written:
            stack_path.unlink(missing_ok=True)
        raise
    if is_table:
        smaller.to_star(path)
    elif path.suffix.lower() == ".txt" or len(outputs) > 1:
        names = [os.path.relpath(output.path, path.parent) for output in outputs]
        write_text(path.with_suffix(".txt"), "\n".join(names) + "\n")
    return smaller


def _stream(
    source: ImageSource, rows: np.ndarray, box: int, batch: int, threads: int
) -> Iterator[np.ndarray]:
    """Give resampled images in order while threads read the next ones.

    Of several processes each reads and resamples its share of every batch.
    """
    largest, processes = int(source.table.box[rows].max()), jax.process_count()
    count = max(1, min(batch, -(-len(rows) // processes), _BATCH_BYTES // (4 * largest**2)))
    rounds = [rows[k : k + count * processes] for k in range(0, len(rows), count * processes)]
    batches = [part[own_share(len(part))] for part in rounds]
    workers = max(1, min(threads, os.cpu_count() or 1))
    with ThreadPoolExecutor(workers) as pool:
        pending = deque(pool.submit(_read_by_box, source, part) for part in batches[:workers])
        for k, part in enumerate(batches):
            groups = together(pending.popleft().result)
            if k + workers < len(batches):
                pending.append(pool.submit(_read_by_box, source, batches[k + workers]))
            result = np.empty((len(part), box, box), np.float32)
            for place, images in groups:
                # Always `count` images, so that each box is compiled once.
                padded = np.zeros((count, *images.shape[1:]), np.float32)
                padded[: len(images)] = images
                result[place] = map_rows(partial(_resample, side=box), padded)[: len(images)]
            yield gather_rows(result, len(rounds[k]))


def _read_by_box(source: ImageSource, rows: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Read images and check their pixels: for each box size, places in `rows` and images."""
    groups = []
    for side in np.unique(source.table.box[rows]):
        place = np.flatnonzero(source.table.box[rows] == side)
        images = source.read(rows[place])
        check_finite(images, rows[place], source.table)
        groups.append((place, images))
    return groups


def _plan_outputs(
    table: ParticleTable, path: Path, chunk: int | None, stack_folder: str | os.PathLike | None
) -> list[_Output]:
    rows = np.arange(len(table))
    if stack_folder is not None:
        groups = rows_by_stack(table)
        names = _tree_below_common_folder([table.stacks[k] for k, _ in groups])
        return [
            _Output(Path(stack_folder) / name, mine)
            for name, (_, mine) in zip(names, groups, strict=True)
        ]
    if chunk is not None:
        if chunk < 1:
            raise InputError(f"--chunk {chunk}: must be at least 1 image")
        parts = [rows[k : k + chunk] for k in range(0, len(rows), chunk)]
        return [_Output(path.with_suffix(f".{k}.mrcs"), part) for k, part in enumerate(parts)]
    is_stack = path.suffix.lower() in (".mrcs", ".mrc")
    return [_Output(path if is_stack else path.with_suffix(".mrcs"), rows)]


def _tree_below_common_folder(stacks: list[str]) -> list[str]:
    common = os.path.commonpath([os.path.dirname(os.path.abspath(stack)) for stack in stacks])
    return [os.path.splitext(os.path.relpath(stack, common))[0] + ".mrcs" for stack in stacks]


def _described(table: ParticleTable, box: int, outputs: list[_Output]) -> ParticleTable:
    stack_id, image_index = np.empty(len(table), np.int32), np.empty(len(table), np.int64)
    for k, output in enumerate(outputs):
        stack_id[output.rows] = k
        image_index[output.rows] = np.arange(len(output.rows))
    return table.replace(
        stacks=tuple(os.path.abspath(output.path) for output in outputs),
        stack_id=stack_id,
        image_index=image_index,
        # Images are written as they were read: with sign and applied CTF undone.
        sign=None,
        ctf_applied=None,
        box=np.full(len(table), box, np.int32),
        # Nine digits: 0.89 · 448 / 16 is 24.92, not 24.919999999999998.
        pixel_size=np.array([float(f"{x:.9g}") for x in table.pixel_size * table.box / box]),
    )


def _check_box(box: int, smallest: int, largest: int) -> None:
    if box < 2 or box > smallest:
        sides = f"{smallest}" if smallest == largest else f"{smallest} to {largest}"
        raise InputError(
            f"-D {box}: the new box must be 2 to {smallest} pixels; images have {sides}"
        )


def _check_outputs(
    table: ParticleTable,
    smaller: ParticleTable,
    box: int,
    outputs: list[_Output],
    is_table: bool,
) -> None:
    inputs = {os.path.realpath(stack) for stack in table.stacks}
    for output in outputs:
        if os.path.realpath(output.path) in inputs:
            raise InputError(f"{output.path}: is one of the inputs; choose another output")
        sizes = smaller.pixel_size[output.rows]
        if not is_table and np.ptp(sizes) > 1e-4 * sizes[0]:
            raise InputError(
                f"{output.path}: images have pixel sizes of {sizes.min():.6g} to "
                f"{sizes.max():.6g} Å and a stack holds one; write a .star, which keeps each"
            )
    needed = len(table) * box * box * 4 + HEADER_BYTES * len(outputs)
    folder = next(p for p in outputs[0].path.absolute().parents if p.is_dir())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"{folder}: needs {needed / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free"
        )

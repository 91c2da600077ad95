"""Images of the coming steps, read by worker threads while the present one is computed."""

from collections.abc import Callable, Iterator

import numpy as np

Read = Callable[[np.ndarray], np.ndarray]


def read_ahead(
    read: Read,
    rows: np.ndarray,
    first: int = 0,
    *,
    group: int = 1,
    threads: int = 2,
    ahead: int = 4,
) -> Iterator[np.ndarray]:
    """Read the images of each step, in the order of the steps.

    **Arguments:** `read`: gives the images `(k, n, n)` of `k` rows, safe from several threads.
    `rows`: `(steps, batch)`. `first`: step to begin with. `group`: steps whose images are asked
    for at once; up to `threads + 2` groups are held. `ahead`: batches read before they are
    asked for, when `group` is 1: the batch queue.

    **Returns:** images `(batch, n, n)`, one array a step. What `read` raises is raised here.
    """
    import grain  # half a second, and only needed where images do not fit

    groups = grain.MapDataset.source(_Groups(read, rows, group))[first // group :]
    options = grain.ReadOptions(
        num_threads=threads, prefetch_buffer_size=max(threads, ahead // group)
    )
    reader = iter(groups.to_iter_dataset(options))
    done = first % group
    try:
        for images in reader:
            yield from images[done:]
            done = 0
    finally:
        reader.close()


class _Groups:
    """The images of groups of steps, as a random-access source for Grain."""

    def __init__(self, read: Read, rows: np.ndarray, group: int) -> None:
        self._read, self._rows, self._group = read, rows, group

    def __len__(self) -> int:
        return -(-len(self._rows) // self._group)

    def __getitem__(self, number: int) -> np.ndarray:
        rows = self._rows[number * self._group : (number + 1) * self._group]
        images = self._read(rows.ravel())
        return images.reshape(*rows.shape, *images.shape[1:])
